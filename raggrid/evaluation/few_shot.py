"""Solved training questions that a prompt shows before the one that it asks."""

from __future__ import annotations

from collections.abc import Sequence

from raggrid.data.corpus import places_of
from raggrid.data.sampling import sampled
from raggrid.rag.chat import Example
from raggrid.rag.prompt import PromptWriter
from raggrid.records import Passage, Question
from raggrid.space.search_space import SearchSpace


def examples_of(
    space: SearchSpace, train: Sequence[Question], passages: Sequence[Passage], writer: PromptWriter
) -> list[Example]:
    """``answer.examples`` training questions as the generator is asked them, each with its first accepted answer.

    They are the same for every question and every study of the same data. Each reads its labelled passages, at most
    as many as an answer reads; where fewer training questions than that are labelled, any are drawn, and those
    without labels show no passage.
    """
    count, labelled = space.answer.examples, [question for question in train if question.context_ids]
    chosen = sampled(labelled if len(labelled) >= count else train, count)
    named = {name for question in chosen for name in question.context_ids}
    places = places_of(passages, named)
    read = [[passages[places[name]] for name in question.context_ids[: space.answer_top_k]] for question in chosen]
    return [(writer(q.question, shown), q.answers[0]) for q, shown in zip(chosen, read, strict=True)]
