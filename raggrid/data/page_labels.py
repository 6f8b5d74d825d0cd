"""Context labels from the pages that questions are about: passages of such a page that show what a question asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raggrid.data.corpus import Corpus
from raggrid.data.folder import Dataset
from raggrid.data.origin import LabelOrigin
from raggrid.errors import DataError
from raggrid.evaluation.metrics import contains_answer
from raggrid.records import Question

ShownBy = Mapping[str, Mapping[str, Sequence[str]]]
"""By question id, then by the title of a page: texts of which a labelled passage of that page contains one."""
RULE = "page"


@dataclass
class _Pages:
    """What a pass over the corpus finds: the first passage of each wanted page, and the labels of each question."""

    first: dict[str, str] = field(default_factory=dict)
    labels: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def page_labelled(data: Dataset, shown_by: ShownBy, *, or_first: bool) -> Dataset:
    """The data with labels; its own are dropped.

    Args:
        data: with a `Corpus`, which is read once.
        shown_by: what shows that a passage is a question's.
        or_first: a page without such a passage gives its first one. Without, it gives none.

    Raises:
        DataError: the corpus has none of the pages.
    """
    pages = _looked_up(data.passages, shown_by)
    if not pages.first:
        raise DataError("corpus: got none of the pages that the questions are about; expected titles of Wikipedia's. "
                        "Check the file and its column of titles.")  # fmt: skip
    splits = {name: tuple(_labelled(rows, shown_by, pages, or_first)) for name, rows in data.splits.items()}
    rows = [question for part in splits.values() for question in part]
    labelled = sum(bool(question.context_ids) for question in rows)
    wanted = len({_plain(title) for shown in shown_by.values() for title in shown})
    told = (
        f"{labelled:,} of {len(rows):,} questions have a label; {len(pages.first):,} of {wanted:,} pages that they are "
        "about are in the corpus."
    )
    origin = LabelOrigin(rule=RULE, embedder="", top_k=0, questions=len(rows), labelled=labelled)
    return replace(data.with_splits(splits), about=(*data.about, told), origin=origin)


def _looked_up(passages: Sequence[object], shown_by: ShownBy) -> _Pages:
    assert isinstance(passages, Corpus)
    wanted: dict[str, list[tuple[str, Sequence[str]]]] = {}
    for question, shown in shown_by.items():
        for title, texts in shown.items():
            wanted.setdefault(_plain(title), []).append((question, texts))
    found = _Pages()
    for columns in passages.columns("id", "title", "text"):
        for identity, title, text in zip(*columns, strict=True):
            name = _plain(title)
            for question, texts in wanted.get(name, ()):
                found.first.setdefault(name, identity)
                if contains_answer(text, texts):
                    found.labels.setdefault((question, name), []).append(identity)
    return found


def _labelled(rows: Sequence[Question], shown_by: ShownBy, pages: _Pages, or_first: bool) -> Iterator[Question]:
    for question in rows:
        gold: list[str] = []
        for name in map(_plain, shown_by.get(question.id, {})):
            first = [pages.first[name]] if or_first and name in pages.first else []
            gold += pages.labels.get((question.id, name)) or first
        yield replace(question, context_ids=tuple(dict.fromkeys(gold)))


def _plain(title: str) -> str:
    return title.replace("_", " ").strip()
