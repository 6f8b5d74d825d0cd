"""Whose answers an answering takes over: an equal prompt to an equal generator is answered once.

The source is fixed by the study's plan and awaited where it is under way, not picked from what happens to be finished:
so a study that is repeated, or killed and continued, takes over the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raggrid.identity import pipeline_id
from raggrid.strategies import source_of, strategy_loss
from raggrid.study.facts import Facts
from raggrid.study.rounds import SearchKey
from raggrid.study.tasks import AnswerTask

Waiter = SearchKey | int
"""What waits for an answering: a search with its finalists, or a pipeline of the study by number."""


def source_pipeline(task: AnswerTask, facts: Facts) -> str | None:
    """The id of the pipeline with the same generator and the un-tuned embedder; None where there is no other such."""
    source = source_of(task.strategy)
    if source is None:
        return None
    trial = facts.trials[task.generator_trial_id] if task.generator_trial_id else None
    loss, seed = (strategy_loss(source, trial.loss), trial.seed) if trial else (None, facts.space.seeds[0])
    return pipeline_id(source, loss, seed, None, task.generator_trial_id, facts.key)


@dataclass
class Sharing:
    """Who waits for which answering, by the answering's key."""

    waiters: dict[str, list[Waiter]] = field(default_factory=dict)

    def ready(
        self, task: AnswerTask, waiter: Waiter, facts: Facts, under_way: Callable[[str], bool]
    ) -> AnswerTask | None:
        """The task, with its source if that has answered; None while it is ``under_way``: then ``waiter`` is noted."""
        source = source_pipeline(task, facts)
        if source is None:
            return task
        key = f"{source}@{task.split}"
        if under_way(key):
            self.waiters.setdefault(key, []).append(waiter)
            return None
        return replace(task, same_generator=source) if (source, task.split) in facts.answered else task

    def end(self, key: str) -> list[Waiter]:
        """Who waited for this answering."""
        return self.waiters.pop(key, [])
