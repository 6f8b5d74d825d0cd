"""Fields under other names and in other forms: which one of a row is meant, and the answers that it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# What data sets call the fields of a question and of a passage; raggrid's own name comes first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "question_id": ("id", "_id", "question_id", "qid", "query_id", "example_id"),
    "question": ("question", "query", "question_text"),
    "answers": ("answers", "answer", "golden_answers", "possible_answers", "gold_answers", "short_answers"),
    "context_ids": ("context_ids", "context_id", "passage_ids", "passage_id", "positive_ids"),
    "context": ("context", "passage"),
    "group": ("group",),
    "passage_id": ("id", "_id", "passage_id", "pid", "docid", "doc_id"),
    "title": ("title", "wikipedia_title"),
    "text": ("text", "contents", "content", "passage", "body"),
}
Columns = Mapping[str, str]
"""The user's own names of these fields; a dot leads into an object, as in ``metadata.answers``."""


def value_of(row: Mapping[str, Any], field: str, columns: Columns) -> Any:
    """A field's value under the name that the user gave, else under the first known name that is filled; or None."""
    if field in columns:
        return inside(row, columns[field])
    return next((row[name] for name in NAMES[field] if row.get(name) not in (None, "")), None)


def inside(row: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none. A column's name may contain dots itself."""
    if path in row:
        return row[path]
    first, _, rest = path.partition(".")
    inner = row.get(first)
    return inside(inner, rest) if rest and isinstance(inner, Mapping) else None


def strings_in(value: Any) -> Any:
    """A list of strings from a list, a lone string, a number, SQuAD's object with ``text``, or a list as JSON text.

    Anything else stays what it is, for the check of rows to name.
    """
    if isinstance(value, Mapping) and "text" in value:
        value = (
            value["text"] if isinstance(value["text"], str) else list(dict.fromkeys(value["text"]))
        )  # all annotators'
    if isinstance(value, str):
        parsed = _parsed(value)
        value = parsed if isinstance(parsed, list) else [value]
    if isinstance(value, bool) or value is None:
        return value
    items = value if isinstance(value, list | tuple) else [value]
    return [str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item for item in items]


def _parsed(text: str) -> object:
    if not text.lstrip().startswith("["):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def passage_row(title: str, text: str, identity: object = None) -> dict[str, Any]:
    """A passage in raggrid's form; without an id of its own it is named by its content."""
    if identity in (None, ""):
        identity = hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:16]
    return {"id": str(identity), "title": title, "text": text}
