"""Whose answers an answering reuses: an equal prompt to an equal generator is answered once.

The source is fixed by the study's plan and awaited where it is under way, not picked from what happens to be finished:
so a study that is repeated, or killed and continued, reuses the same answers.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from raggrid.identity import pipeline_id
from raggrid.study.facts import Facts
from raggrid.study.tasks import AnswerTask


class Reuse(NamedTuple):
    """``pipeline``: whose answers are reused, None for nobody's. ``awaited``: the answering that has to end first."""

    pipeline: str | None = None
    awaited: str | None = None


def reuse(task: AnswerTask, facts: Facts, under_way: Container[str]) -> Reuse:
    """Whose answers a task reuses, by the facts and by the keys of the answerings that are queued or running."""
    source = _source(task, facts)
    key = f"{source}@{task.split}"
    if key in under_way:
        return Reuse(awaited=key)
    return Reuse(source if (source, task.split) in facts.answered else None)


def _source(task: AnswerTask, facts: Facts) -> str | None:
    """The id of the pipeline with the same generator and the un-tuned embedder; None where there is no other such."""
    source = facts.graph.source_of(facts.graph.plan_of(task.strategy, task.loss))
    if source is None:
        return None
    seed = facts.trials[task.generator_trial_id].seed if task.generator_trial_id else facts.space.seeds[0]
    return pipeline_id(*source.key, seed, None, task.generator_trial_id, facts.key)
