"""A pipeline and a split -> its predictions with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.evaluation.metrics import answer_scores, recall_at_k
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace

Read = tuple[str, tuple[str, ...]]
"""(question id, ids of the passages in its prompt, in order)."""


@dataclass(frozen=True)
class Scored:
    """One answered question. ``scores``: by metric; None where the question has no value, such as recall unlabelled."""

    question_id: str
    prediction: str
    retrieved_ids: tuple[str, ...]
    scores: Mapping[str, float | None]


def answer_questions(
    pipeline: Pipeline,
    questions: Sequence[Question],
    space: SearchSpace,
    *,
    with_passages: bool = True,
    known: Mapping[Read, str] | None = None,
) -> list[Scored]:
    """Retrieve, concatenate the top passages in one prompt, decode greedily, score: the paper's appendix A.

    ``retrieved_ids`` holds as many passages as training or answering looks at; the answer reads the first
    ``space.answer_top_k`` of them, and recall is measured at that k. Without passages nothing is retrieved: the
    control that shows what the generator knows by itself.

    Args:
        known: answers that the same generator gave before; those to equal prompts are taken over.
    """
    if not questions:
        return []
    k = space.answer_top_k
    texts = [question.question for question in questions]
    found = (
        pipeline.retrieve(texts, max(k, space.retrieval.top_k))
        if with_passages
        else np.empty((len(texts), 0), dtype=np.int64)
    )
    names = [tuple(pipeline.passages[place].id for place in row) for row in found.tolist()]
    given = [(known or {}).get((question.id, ids[:k])) for question, ids in zip(questions, names, strict=True)]
    fresh = [place for place, answer in enumerate(given) if answer is None]
    written = pipeline.answer(
        [texts[place] for place in fresh],
        found[fresh, :k],
        max_new_tokens=space.answer.max_new_tokens,
        batch_size=space.answer.batch_size,
    )
    later = iter(written)
    answers = [next(later) if answer is None else answer for answer in given]
    return [score(question, answer, ids, k) for question, answer, ids in zip(questions, answers, names, strict=True)]


def score(question: Question, prediction: str, retrieved_ids: tuple[str, ...], k: int) -> Scored:
    """One prediction against its question's answers and labels."""
    recall = recall_at_k(retrieved_ids, question.context_ids, k) if retrieved_ids else None
    scores = {**answer_scores(prediction, question.answers), "recall_at_k": recall}
    return Scored(question.id, prediction, retrieved_ids, scores)
