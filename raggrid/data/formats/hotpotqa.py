"""HotPotQA's form (Yang et al. 2018): ten paragraphs in sentences per question, and the sentences that it rests on.

As released, in lists of pairs, and as on the hub, in lists by name; distractor and fullwiki alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raggrid.data.formats.fields import passage_row, strings_in, value_of
from raggrid.data.formats.nested import NO_ANSWER, in_all_splits
from raggrid.data.formats.problems import Problems, Row
from raggrid.data.formats.source import Format, Source


def _pairs(value: Any, first: str, second: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        value = zip(value.get(first) or (), value.get(second) or (), strict=False)
    yield from ((str(one), other) for one, other in value or ())


def _paragraphs(row: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    return _pairs(row.get("context"), "title", "sentences")


def _supporting(row: Mapping[str, Any]) -> dict[str, list[int]]:
    """The numbers of the supporting sentences by their paragraph's title, in the annotators' order."""
    found: dict[str, list[int]] = {}
    for title, number in _pairs(row.get("supporting_facts"), "title", "sent_id"):
        found.setdefault(title, []).append(number)
    return found


def _passages(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (passage_row(title, "".join(sentences).strip()) for title, sentences in _paragraphs(row))


def identity_of(row: Mapping[str, Any], split: str, number: int) -> str:
    """The id of the question in the row ``number`` of a split, from 1."""
    return str(value_of(row, "question_id", {}) or f"{split}-{number}")


def _questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """The labels are the paragraphs with a supporting sentence. Beside a corpus of its own a question has none."""
    for number, (place, row) in enumerate(source.rows(split, problems), start=1):
        if not row.get("answer"):  # as in the test split, whose answers are hidden
            problems.left_out[NO_ANSWER] += 1
            continue
        titles = _supporting(row)
        gold = [passage["id"] for passage in _passages(row) if passage["title"] in titles and passage["text"]]
        yield place, {
            "id": identity_of(row, split, number), "question": row.get("question"),
            "answers": strings_in(row["answer"]), "context_ids": [] if source.has("corpus") else gold,
        }  # fmt: skip


def supporting_sentences(source: Source, split: str) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """(id of a question, its supporting sentences by the title of their page); none where they are not in the row."""
    for number, (_, row) in enumerate(source.rows(split, Problems()), start=1):
        texts = dict(_paragraphs(row))
        yield (
            identity_of(row, split, number),
            {title: tuple(texts.get(title, ())[n] for n in numbers if n < len(texts.get(title, ())))
             for title, numbers in _supporting(row).items()},
        )  # fmt: skip


HOTPOTQA = Format(label="HotPotQA's", passages=in_all_splits(_passages), questions=_questions, has_corpus=False)
