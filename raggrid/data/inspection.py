"""What a data set is like before anything is spent on it: sizes, lengths, answers in passages, recall, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from statistics import fmean, median
from typing import Any

from raggrid.data.checked import data_of
from raggrid.data.corpus import places_of
from raggrid.data.folder import Dataset, labels_of
from raggrid.data.sampling import sampled
from raggrid.evaluation.metrics import RECALL_DEPTHS, contains_answer, normalize_answer, recall_at_k
from raggrid.rag.prompt import passage_text
from raggrid.records import Passage, Question
from raggrid.space.search_space import SearchSpace

SAMPLE = 10_000  # texts whose lengths are measured
QUESTIONS = 1_000  # per split that passages are retrieved for; shares are then good to 3 points
EXAMPLES = 10
LEAKS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths in tokens of the embedder, of a sample of at most `SAMPLE` texts."""

    mean: float
    median: float
    p95: float
    longest: int


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split. Shares are fractions; those of retrieval are by k, over ``num_retrieved`` questions of a sample.

    ``answer_in_labelled``: of the labelled questions those with an accepted answer in a labelled passage; None without
    labels. ``recall``: the mean share of a question's labelled passages among the first k; ``answer_in_retrieved``: the
    questions with an accepted answer in one of the first k.
    """

    num_questions: int
    num_unlabelled: int
    labels_per_question: float
    answer_in_labelled: float | None
    num_retrieved: int
    recall: Mapping[int, float | None]
    answer_in_retrieved: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Questions of the second split that the first one has too; within a split, those that it has before.

    ``same_text``: word for word. ``near_text``: only after normalising case, punctuation and articles.
    ``shared_passage``: questions with a labelled passage that a question of the other split has; None within a split.
    ``examples``: texts of the first of them.
    """

    splits: tuple[str, str]
    same_text: int
    near_text: int
    shared_passage: int | None
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question with the titles of its labelled passages and of the first ones retrieved (or their beginnings)."""

    split: str
    id: str
    question: str
    answers: tuple[str, ...]
    labelled: tuple[str, ...]
    retrieved: tuple[str, ...]
    answer_in_labelled: bool | None
    answer_in_retrieved: bool | None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All of it. ``reads_tokens``: the most tokens of a passage that the embedder reads, and ``share_cut`` the passages
    that are longer; None where nothing was retrieved or there is no limit."""

    name: str
    about: tuple[str, ...]
    embedder: str
    num_passages: int
    passage_tokens: Lengths
    question_tokens: Lengths
    answer_tokens: Lengths
    reads_tokens: int | None
    share_cut: float | None
    splits: Mapping[str, SplitFacts]
    leaks: tuple[Leak, ...]
    examples: tuple[Example, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


Found = Mapping[str, Sequence[int]]
"""Positions of the retrieved passages by question id."""


def inspect_data(
    space: SearchSpace, *, retrieve: bool = True, say: Callable[[str], None] = lambda _: None
) -> Inspection:
    """Look at the data of a space as its study would see it, limits and parts of passages included.

    Args:
        space: its data, and its embedder with its prompts.
        retrieve: embed the corpus and search it; without it, recall and the retrieved passages are left out.
        say: called with a sentence about what takes long.

    Raises:
        DataError: the data is wrong. A split that a study needs may be missing.
        ModelError: the embedder or its tokenizer is not on this machine.
    """
    from raggrid.rag.text_tokens import token_spans

    data = data_of(space, needed=())
    spans = token_spans(space.models.embedder)
    questions = [question for rows in data.splits.values() for question in rows]
    found, limit = _retrieved(space, data, say) if retrieve else ({}, None)
    lengths = [len(row) for row in spans([passage_text(p) for p in sampled(data.passages, SAMPLE)])]
    return Inspection(
        name=space.name,
        about=(*data.about, *([data.origin.sentence] if data.origin else [])),
        embedder=space.models.embedder,
        num_passages=len(data.passages),
        passage_tokens=_lengths(lengths),
        question_tokens=_lengths([len(row) for row in spans([q.question for q in sampled(questions, SAMPLE)])]),
        answer_tokens=_lengths([len(row) for row in spans([q.answers[0] for q in sampled(questions, SAMPLE)])]),
        reads_tokens=limit,
        share_cut=None if limit is None else fmean(length > limit for length in lengths),
        splits={split: _facts(rows, data, found) for split, rows in data.splits.items()},
        leaks=tuple(leaks(data.splits)),
        examples=tuple(_examples(data, found)),
    )


def _lengths(counts: Sequence[int]) -> Lengths:
    ordered = sorted(counts)
    return Lengths(
        mean=fmean(ordered), median=median(ordered), p95=ordered[int(0.95 * (len(ordered) - 1))], longest=ordered[-1]
    )


def _retrieved(space: SearchSpace, data: Dataset, say: Callable[[str], None]) -> tuple[Found, int | None]:
    from raggrid.rag.nearest import nearest

    asked = [question for rows in data.splits.values() for question in sampled(rows, QUESTIONS)]
    say(f"embedding {len(data.passages):,} passages and {len(asked):,} questions ...")
    texts = [passage_text(passage) for passage in data.passages]
    found = nearest(space.models, texts, [q.question for q in asked], max(RECALL_DEPTHS))
    rows = found.positions.tolist()
    return {question.id: row for question, row in zip(asked, rows, strict=True)}, found.reads_tokens


def _facts(rows: Sequence[Question], data: Dataset, found: Found) -> SplitFacts:
    by_id = _named(data)
    labelled = [row for row in rows if row.context_ids]
    holding = [any(_holds(by_id[name], row) for name in row.context_ids) for row in labelled]
    searched = [row for row in rows if row.id in found]
    first = [_first_holding(row, data, found[row.id]) for row in searched]
    depths = RECALL_DEPTHS if searched else ()
    return SplitFacts(
        num_questions=len(rows),
        num_unlabelled=len(rows) - len(labelled),
        labels_per_question=fmean(len(row.context_ids) for row in rows),
        answer_in_labelled=fmean(holding) if holding else None,
        num_retrieved=len(searched),
        recall={k: _recall(searched, data, found, k) for k in depths},
        answer_in_retrieved={k: fmean(place < k for place in first) for k in depths},
    )


def _named(data: Dataset) -> dict[str, Passage]:
    """The labelled passages by their ids."""
    return {name: data.passages[place] for name, place in places_of(data.passages, labels_of(data)).items()}


def _recall(rows: Sequence[Question], data: Dataset, found: Found, k: int) -> float | None:
    each = [recall_at_k([data.passages[p].id for p in found[row.id]], row.context_ids, k) for row in rows]
    known = [value for value in each if value is not None]
    return fmean(known) if known else None


def _holds(passage: Passage, question: Question) -> bool:
    return bool(contains_answer(passage_text(passage), question.answers))


def _first_holding(question: Question, data: Dataset, places: Sequence[int]) -> int:
    """The rank, from 0, of the first retrieved passage with an accepted answer; beyond all where none has one."""
    return next((rank for rank, place in enumerate(places) if _holds(data.passages[place], question)), len(places))


def leaks(splits: Mapping[str, Sequence[Question]]) -> list[Leak]:
    """What pairs of splits have in common, and what a split has twice; pairs with nothing in common are left out."""
    pairs = (_leak(one, other, splits) for one, other in combinations_with_replacement(splits, 2))
    return [leak for leak in pairs if leak.same_text or leak.near_text or leak.shared_passage]


def _leak(one: str, other: str, splits: Mapping[str, Sequence[Question]]) -> Leak:
    texts = [row.question.strip() for row in splits[other]]
    if one == other:
        exact, near = Counter[str](), Counter[str]()
    else:
        exact = Counter(row.question.strip() for row in splits[one])
        near = Counter(map(normalize_answer, exact))
    same, close = [], []
    for text in texts:
        form = normalize_answer(text)
        same += [text] if text in exact else []
        close += [text] if text not in exact and form in near else []
        if one == other:
            exact[text] += 1
            near[form] += 1
    seen = {name for row in splits[one] for name in row.context_ids}
    shared = None if one == other else sum(bool(seen.intersection(row.context_ids)) for row in splits[other])
    return Leak(
        splits=(one, other), same_text=len(same), near_text=len(close), shared_passage=shared,
        examples=tuple(dict.fromkeys([*same, *close]))[:LEAKS_SHOWN],
    )  # fmt: skip


def _examples(data: Dataset, found: Found) -> list[Example]:
    split = next(iter(data.splits))
    by_id, rows = _named(data), sampled(data.splits[split], QUESTIONS)
    return [_example(split, row, by_id, data, found.get(row.id)) for row in sampled(rows, EXAMPLES)]


def _example(
    split: str, row: Question, by_id: Mapping[str, Passage], data: Dataset, places: Sequence[int] | None
) -> Example:
    labelled = [by_id[name] for name in row.context_ids]
    near = [data.passages[place] for place in (places or ())[:3]]
    return Example(
        split=split, id=row.id, question=row.question, answers=row.answers,
        labelled=tuple(map(_called, labelled)), retrieved=tuple(map(_called, near)),
        answer_in_labelled=any(_holds(p, row) for p in labelled) if labelled else None,
        answer_in_retrieved=any(_holds(p, row) for p in near) if places is not None else None,
    )  # fmt: skip


def _called(passage: Passage) -> str:
    return passage.title or (passage.text if len(passage.text) <= 50 else f"{passage.text[:47]}...")
