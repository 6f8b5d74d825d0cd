"""Formats whose questions carry their passages: DPR's, SQuAD's and Natural Questions'.

A passage that several questions carry stands in the corpus once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from raggrid.data.formats.fields import passage_row, strings_in
from raggrid.data.formats.problems import Place, Problems, Row
from raggrid.data.formats.source import Format, Source
from raggrid.records import SPLITS

NO_ANSWER = "questions without an answer"
_TAG = re.compile(r"<[^>]*>")


def once(rows: Iterator[Row]) -> Iterator[Row]:
    """Passages by their first occurrence; blank ones are left out."""
    seen: set[str] = set()
    for place, row in rows:
        if row["id"] not in seen and str(row["text"]).strip():
            seen.add(row["id"])
            yield place, row


def in_all_splits(inner: Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]) -> Any:
    """A format's passages: what ``inner`` finds in each row of each split, once; those of a corpus where it has one."""

    def passages(source: Source, problems: Problems) -> Iterator[Row]:
        if source.has("corpus"):
            for place, row in source.rows("corpus", problems):
                yield place, _dpr_passage(row)
            return
        rows = chain.from_iterable(source.rows(split, problems) for split in SPLITS)
        yield from once((place, passage) for place, row in rows for passage in inner(row))

    return passages


# DPR (Karpukhin et al. 2020): lists of {question, answers, positive_ctxs, negative_ctxs, hard_negative_ctxs}.

CONTEXTS = ("positive_ctxs", "negative_ctxs", "hard_negative_ctxs")


def _dpr_passage(row: Mapping[str, Any]) -> dict[str, Any]:
    identity = next((row[name] for name in ("passage_id", "psg_id", "id") if row.get(name) not in (None, "")), None)
    return passage_row(row.get("title") or "", row.get("text") or "", identity)


def _dpr_passages(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (_dpr_passage(context) for name in CONTEXTS for context in row.get(name) or ())


def _dpr_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """All positive passages are labels, in the file's order: the first is the annotators' where they named one."""
    for number, (place, row) in enumerate(source.rows(split, problems), start=1):
        gold = [_dpr_passage(context)["id"] for context in row.get("positive_ctxs") or ()]
        yield place, {
            "id": row.get("id") or row.get("question_id") or f"{split}-{number}", "question": row.get("question"),
            "answers": strings_in(row.get("answers")), "context_ids": gold,
        }  # fmt: skip


# SQuAD (Rajpurkar et al. 2016): articles of paragraphs, each with questions about it.


def _paragraphs(article: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Sequence[Mapping[str, Any]]]]:
    title = str(article.get("title") or "").replace("_", " ")
    for paragraph in article.get("paragraphs") or ():
        yield passage_row(title, paragraph.get("context") or ""), paragraph.get("qas") or ()


def _squad_passages(article: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (passage for passage, _ in _paragraphs(article))


def _squad_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """Questions about one article are a group. Those that version 2 marks as impossible are left out."""
    for place, article in source.rows(split, problems):
        for passage, asked in _paragraphs(article):
            for row in asked:
                answers = list(dict.fromkeys(answer.get("text") for answer in row.get("answers") or ()))
                if not answers:
                    problems.left_out[NO_ANSWER] += 1
                    continue
                yield place, {
                    "id": row.get("id"), "question": row.get("question"), "answers": strings_in(answers),
                    "context_ids": [passage["id"]], "group": passage["title"],
                }  # fmt: skip


# Natural Questions (Kwiatkowski et al. 2019), as released and in its simplified form.


def _page(row: Mapping[str, Any]) -> list[str]:
    if "document_tokens" in row:
        return ["" if token.get("html_token") else str(token["token"]) for token in row["document_tokens"]]
    return [_TAG.sub("", token) for token in str(row.get("document_text", "")).split(" ")]


def _span(page: Sequence[str], span: Mapping[str, Any]) -> str:
    start, end = span.get("start_token", -1), span.get("end_token", -1)
    return " ".join(token for token in page[start:end] if token) if 0 <= start < end else ""


def _nq_title(row: Mapping[str, Any]) -> str:
    return str(row.get("document_title") or "")


def _nq_passages(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The candidates of a page that lie in no other one: paragraphs, tables, lists."""
    page = _page(row)
    for span in row.get("long_answer_candidates") or ():
        if span.get("top_level", True):
            yield passage_row(_nq_title(row), _span(page, span))


def _nq_questions(source: Source, split: str, problems: Problems) -> Iterator[Row]:
    """Answers are the short ones of all annotators, yes and no among them; the label is what their long one lies in."""
    for place, row in source.rows(split, problems):
        page, notes = _page(row), row.get("annotations") or ()
        answers = [text for note in notes for text in _short(page, note)]
        if not answers:
            problems.left_out[NO_ANSWER] += 1
            continue
        gold = [passage_row(_nq_title(row), text)["id"] for note in notes if (text := _long(page, row, note))]
        identity = row.get("example_id") or _fallback(place)
        yield place, {
            "id": identity, "question": row.get("question_text"), "answers": list(dict.fromkeys(answers)),
            "context_ids": gold, "group": _nq_title(row) or str(row.get("document_url") or "") or None,
        }  # fmt: skip


def _fallback(place: Place) -> str:
    return f"{place.file.stem}{place.row}"


def _short(page: Sequence[str], note: Mapping[str, Any]) -> Iterator[str]:
    yield from filter(None, (_span(page, span) for span in note.get("short_answers") or ()))
    if str(note.get("yes_no_answer", "")).lower() in ("yes", "no"):
        yield str(note["yes_no_answer"]).lower()


def _long(page: Sequence[str], row: Mapping[str, Any], note: Mapping[str, Any]) -> str:
    """The text of the top-level candidate that holds an annotator's long answer."""
    wanted = note.get("long_answer") or {}
    start, end = wanted.get("start_token", -1), wanted.get("end_token", -1)
    for span in row.get("long_answer_candidates") or ():
        if span.get("top_level", True) and span.get("start_token", -1) <= start < end <= span.get("end_token", -1):
            return _span(page, span)
    return ""


DPR = Format(label="DPR's", passages=in_all_splits(_dpr_passages), questions=_dpr_questions, has_corpus=False)
SQUAD = Format(label="SQuAD's", passages=in_all_splits(_squad_passages), questions=_squad_questions, has_corpus=False)
NATURAL_QUESTIONS = Format(
    label="Natural Questions'", passages=in_all_splits(_nq_passages), questions=_nq_questions, has_corpus=False
)
