"""Rows with columns of any names, from CSV, TSV, JSON, Parquet or the hub: which column is what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from raggrid.data.formats.fields import passage_row, strings_in, value_of
from raggrid.data.formats.nested import NO_ANSWER, once
from raggrid.data.formats.problems import Problems, Row
from raggrid.data.formats.source import Format, Source
from raggrid.records import SPLITS


def _passages(source: Source, problems: Problems) -> Iterator[Row]:
    """Of the corpus; without one, what the questions' own column ``context`` holds."""
    if source.has("corpus"):
        for number, (place, row) in enumerate(source.rows("corpus", problems), start=1):
            identity = value_of(row, "passage_id", source.columns)
            yield (
                place,
                {
                    "id": f"p{number}" if identity in (None, "") else identity,
                    "title": value_of(row, "title", source.columns) or "",
                    "text": value_of(row, "text", source.columns),
                },
            )
        return
    rows = chain.from_iterable(source.rows(split, problems) for split in SPLITS)
    yield from once((place, passage) for place, row in rows if (passage := _context(row, source)))


def _context(row: Mapping[str, Any], source: Source) -> dict[str, Any] | None:
    text = value_of(row, "context", source.columns)
    if not isinstance(text, str) or not text.strip():
        return None
    return passage_row(str(value_of(row, "title", source.columns) or "").replace("_", " "), text)


def _questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    for number, (place, row) in enumerate(source.rows(split, problems), start=1):
        identity = value_of(row, "question_id", source.columns)
        answers = value_of(row, "answers", source.columns)
        if isinstance(answers, Mapping) and answers.get("text") == []:  # SQuAD 2's impossible questions
            problems.left_out[NO_ANSWER] += 1
            continue
        gold = strings_in(value_of(row, "context_ids", source.columns))
        context = None if source.has("corpus") or gold else _context(row, source)
        yield place, {
            "id": f"{split}-{number}" if identity in (None, "") else identity,
            "question": value_of(row, "question", source.columns), "answers": strings_in(answers),
            "context_ids": gold or ([context["id"]] if context else []),
            "group": value_of(row, "group", source.columns) or (context or {}).get("title") or None,
        }  # fmt: skip


TABLE = Format(label="rows with columns", passages=_passages, questions=_questions, has_corpus=False)
