"""Context labels -> what the contrastive loss learns from: each gold passage of a question, and hard negatives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raggrid.evaluation.metrics import contains_answer
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import passage_text
from raggrid.records import Question

SEARCHED_BEYOND = 50  # passages looked at beyond those wanted, since gold and answering ones are passed over


@dataclass(frozen=True)
class LabelledPair:
    """A question with one of its gold passages. Passages are positions in the corpus.

    ``gold``: all passages that are right for the question, so that none of them counts as wrong; ``negatives``: hard
    ones that were mined for it.
    """

    question: Question
    positive: int
    gold: frozenset[int]
    negatives: tuple[int, ...] = ()


def labelled_pairs(
    questions: Sequence[Question],
    positions: Mapping[str, int],
    positives: Literal["all", "first"] = "all",
    negatives: Mapping[str, Sequence[int]] | None = None,
) -> list[LabelledPair]:
    """One pair per question and gold passage, or per question alone; a question without labels has none.

    Args:
        questions: in the order in which their pairs come.
        positions: of every passage, by its id.
        positives: ``first`` makes a pair of the first gold passage alone; the others are right all the same.
        negatives: hard ones by question id.
    """
    pairs = []
    for question in questions:
        gold = [positions[name] for name in question.context_ids]
        hard = tuple((negatives or {}).get(question.id, ()))
        chosen = gold if positives == "all" else gold[:1]
        pairs += [LabelledPair(question, positive, frozenset(gold), hard) for positive in chosen]
    return pairs


def mined_negatives(pipeline: Pipeline, questions: Sequence[Question], count: int) -> dict[str, list[int]]:
    """Positions of up to ``count`` passages per question id that its embedder finds near and that are wrong.

    Passed over as false negatives: the question's gold passages, and those that contain one of its accepted answers.
    """
    found = pipeline.retrieve([question.question for question in questions], count + SEARCHED_BEYOND)
    mined = {}
    for question, row in zip(questions, found.tolist(), strict=True):
        near = ((position, pipeline.passages[position]) for position in row)
        wrong = (
            position
            for position, passage in near
            if passage.id not in question.context_ids and not contains_answer(passage_text(passage), question.answers)
        )
        mined[question.id] = list(itertools.islice(wrong, count))
    return mined
