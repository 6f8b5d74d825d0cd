"""Whose answers an answering takes over: an equal prompt to an equal generator is answered once.

The source is fixed by the study's plan and awaited where it is under way, not picked from what happens to be finished:
so a study that is repeated, or killed and continued, takes over the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raggrid.identity import pipeline_id
from raggrid.search.facts import Facts
from raggrid.search.rounds import SearchKey
from raggrid.search.tasks import AnswerTask
from raggrid.strategies import STRATEGIES, strategy_loss

Waiter = SearchKey | int
"""What waits for an answering: a search with its finalists, or a pipeline of the study by number."""


def source_of(task: AnswerTask, facts: Facts) -> str | None:
    """The pipeline with the same generator and the un-tuned embedder; None if ``task`` is of it, or there is none.

    That is ``baseline``, or the ``generator`` strategy's with the same trial: joint's and closed_book's generators
    answer in no other pipeline.
    """
    if task.generator_trial_id is None:
        source = "baseline"
        loss, seed = None, facts.space.seeds[0]
    else:
        source, trial = "generator", facts.trials[task.generator_trial_id]
        if trial.phase != STRATEGIES[source].generator_phase:
            return None
        loss, seed = strategy_loss(source, trial.loss), trial.seed
    return (
        None if task.strategy == source else pipeline_id(source, loss, seed, None, task.generator_trial_id, facts.key)
    )


@dataclass
class Sharing:
    """Who waits for which answering, by the answering's key."""

    waiters: dict[str, list[Waiter]] = field(default_factory=dict)

    def ready(
        self, task: AnswerTask, waiter: Waiter, facts: Facts, under_way: Callable[[str], bool]
    ) -> AnswerTask | None:
        """The task, with its source if that has answered; None while it is ``under_way``: then ``waiter`` is noted."""
        source = source_of(task, facts)
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
