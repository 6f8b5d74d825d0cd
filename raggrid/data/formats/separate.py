"""Formats with a corpus of their own: raggrid's, BEIR's and FlashRAG's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raggrid.data.formats.fields import inside, strings_in, value_of
from raggrid.data.formats.problems import Place, Problems, Row
from raggrid.data.formats.source import Format, Source

NO_ANSWERS = (
    "got a query without answers, which BEIR's format does not have; expected a field with them. Name it, such as "
    "--set data.columns.answers=metadata.answers, or join the answers to {}."
)


def _plain_passages(source: Source, problems: Problems) -> Iterator[Row]:
    return source.rows("corpus", problems)


def _plain_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    return source.rows(split, problems)


def _beir_passages(source: Source, problems: Problems) -> Iterator[Row]:
    for place, row in source.rows("corpus", problems):
        yield place, {"id": value_of(row, "passage_id", source.columns), "title": row.get("title") or "",
                      "text": value_of(row, "text", source.columns)}  # fmt: skip


def _beir_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """The queries of a split: those with a line in its qrels, and those whose metadata name the split."""
    labels = _qrels(source, split, problems)
    for place, row in source.rows("queries", problems):
        identity = str(value_of(row, "question_id", source.columns))
        if identity not in labels and inside(row, "metadata.split") != split:
            continue
        answers = value_of(row, "answers", source.columns) or inside(row, "metadata.answers")
        if answers is None:
            problems.note(place, NO_ANSWERS, place.file.name)
            continue
        yield place, {
            "id": identity, "question": row.get("text", value_of(row, "question", source.columns)),
            "answers": strings_in(answers), "context_ids": labels.get(identity, []),
            "group": value_of(row, "group", source.columns) or inside(row, "metadata.group"),
        }  # fmt: skip


def _qrels(source: Source, split: str, problems: Problems) -> dict[str, list[str]]:
    """The relevant passages of each query of a split: those with a score above 0, the highest first."""
    found: dict[str, list[tuple[float, str]]] = {}
    for place, row in source.rows(f"qrels/{split}", problems):
        query, passage = row.get("query-id"), row.get("corpus-id")
        score = _score(row.get("score"), place, problems)
        if query is None or passage is None:
            problems.note(place, "got no query-id or no corpus-id; expected the columns query-id, corpus-id, score.")
        elif score > 0:
            found.setdefault(str(query), []).append((-score, str(passage)))
        else:
            found.setdefault(str(query), [])
    return {query: [name for _, name in sorted(rows, key=lambda row: row[0])] for query, rows in found.items()}


def _score(value: Any, place: Place, problems: Problems) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        problems.note(place, "score: got {}; expected a number. Correct it.", repr(value))
        return 0.0


def _flashrag_passages(source: Source, problems: Problems) -> Iterator[Row]:
    for place, row in source.rows("corpus", problems):
        contents = value_of(row, "text", source.columns)
        title, text = row.get("title") or "", contents
        if isinstance(contents, str) and "\n" in contents and not title:
            title, _, text = contents.partition("\n")
        yield place, {"id": value_of(row, "passage_id", source.columns), "title": _unquoted(title), "text": text}


def _unquoted(title: Any) -> Any:
    """A title without the quotation marks around it, which FlashRAG's Wikipedia corpora have."""
    quoted = isinstance(title, str) and len(title) > 1 and title[0] == title[-1] == '"'
    return title[1:-1] if quoted else title


def _flashrag_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """Labels are read from ``metadata.context_ids``, since the format has no field of its own for them."""
    for place, row in source.rows(split, problems):
        about: Mapping[str, Any] = row.get("metadata") or {}
        yield place, {
            "id": value_of(row, "question_id", source.columns),
            "question": value_of(row, "question", source.columns),
            "answers": strings_in(value_of(row, "answers", source.columns)),
            "context_ids": strings_in(value_of(row, "context_ids", source.columns) or about.get("context_ids")),
            "group": value_of(row, "group", source.columns) or about.get("group"),
        }  # fmt: skip


RAGGRID = Format(label="raggrid's own", passages=_plain_passages, questions=_plain_questions)
BEIR = Format(label="BEIR's", passages=_beir_passages, questions=_beir_questions)
FLASHRAG = Format(label="FlashRAG's", passages=_flashrag_passages, questions=_flashrag_questions)
