"""A pipeline and a split -> its predictions with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raggrid.data.corpus import places_of
from raggrid.evaluation.custom_metrics import custom_metrics
from raggrid.evaluation.few_shot import examples_of
from raggrid.evaluation.metrics import NO_CUSTOM, RECALL_DEPTHS, AnswerScore, answer_scores, recall_at_k
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import BASELINE, STRATEGIES, Strategy

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
    strategy: Strategy = STRATEGIES[BASELINE],
    train: Sequence[Question] = (),
    known: Mapping[Read, str] | None = None,
) -> list[Scored]:
    """Retrieve, concatenate the top passages in one prompt, decode greedily, score: the paper's appendix A.

    The answer reads the first ``space.answer_top_k`` passages that were found, and recall is measured at that k.
    ``retrieved_ids`` holds as many as training or answering looks at. Controls read something else: nothing, or the
    labelled passages alone, at most as many, and then questions without labels are left out.

    Args:
        strategy: what reads the passages.
        train: the training questions, from which examples are taken where the strategy shows some.
        known: answers that the same generator gave before; those to equal prompts are reused.

    Raises:
        InputError: a metric of the user's own cannot be imported, or fails for an answer.
    """
    custom = custom_metrics(space.custom_metrics)
    asked = [question for question in questions if question.context_ids or not strategy.given_labelled]
    k, found = space.answer_top_k, _found(pipeline, asked, space, strategy) if asked else []
    names = [tuple(pipeline.passages[place].id for place in row) for row in found]
    given = [(known or {}).get((question.id, ids[:k])) for question, ids in zip(asked, names, strict=True)]
    fresh = [place for place, answer in enumerate(given) if answer is None]
    shows = strategy.shows_examples
    written = pipeline.answer(
        [asked[place].question for place in fresh],
        [found[place][:k] for place in fresh],
        max_new_tokens=space.answer.max_new_tokens,
        batch_size=space.answer.batch_size,
        examples=examples_of(space, train, pipeline.passages, pipeline.write_prompt) if shows else (),
    )
    later = iter(written)
    answers = [next(later) if answer is None else answer for answer in given]
    kept = max(k, space.retrieval.top_k)
    rows = zip(asked, answers, names, strict=True)
    return [score(question, answer, ids, k, kept, strategy, custom) for question, answer, ids in rows]


def _found(
    pipeline: Pipeline, questions: Sequence[Question], space: SearchSpace, strategy: Strategy
) -> list[list[int]]:
    """The positions of the passages for each question, best first: more than are read where they are retrieved."""
    if not strategy.reads_passages:
        return [[] for _ in questions]
    k = space.answer_top_k
    if strategy.given_labelled:
        named = {name for question in questions for name in question.context_ids}
        places = places_of(pipeline.passages, named)
        return [[places[name] for name in question.context_ids[:k]] for question in questions]
    depth = max(k, space.retrieval.top_k, *RECALL_DEPTHS)
    found: list[list[int]] = pipeline.retrieve([question.question for question in questions], depth).tolist()
    return found


def score(
    question: Question,
    prediction: str,
    found_ids: tuple[str, ...],
    k: int,
    kept: int | None = None,
    strategy: Strategy = STRATEGIES[BASELINE],
    custom: Mapping[str, AnswerScore] = NO_CUSTOM,
) -> Scored:
    """One prediction against its question's answers and labels.

    Args:
        question: as it was asked.
        prediction: the answer.
        found_ids: the passages, best first.
        k: how many of them the prompt held.
        kept: how many of them are recorded; by default all.
        strategy: what found them. Recall at other depths is measured where something was retrieved.
        custom: the user's own metrics by name.
    """
    recall = recall_at_k(found_ids, question.context_ids, k) if found_ids else None
    retrieved = found_ids and not strategy.given_labelled
    depths = {
        f"recall_at_{depth}": recall_at_k(found_ids, question.context_ids, depth) if retrieved else None
        for depth in RECALL_DEPTHS
    }
    scores = {**answer_scores(prediction, question.answers, custom), "recall_at_k": recall, **depths}
    return Scored(question.id, prediction, found_ids[:kept], scores)
