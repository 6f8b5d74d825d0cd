"""The pipelines that a study ends with: the winners of its searches, on every split that is not for training."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace

from raggrid.graph import PipelinePlan, PlanKey, SearchKey, StudyGraph
from raggrid.identity import pipeline_id
from raggrid.records import PipelineRecord
from raggrid.study.facts import Facts
from raggrid.study.reuse import reuse
from raggrid.study.rounds import Outcome
from raggrid.study.tasks import AnswerTask


class AnswerQueue:
    """The answerings of a study's pipelines: those still to be queued, and those queued and not ended.

    ``first`` holds what trains nothing, on validation: finalists reuse its answers. ``last`` the rest, which waits
    until training has no use for a device. ``queued``: all that is in them, or was taken and has not ended, by key.
    """

    def __init__(self, graph: StudyGraph, splits: Sequence[str]) -> None:
        self.splits = splits
        self.plans = graph.planned()
        self._using: dict[SearchKey, list[int]] = {}
        for number, (plan, seed) in enumerate(self.plans):
            for name in plan.searches:
                self._using.setdefault(SearchKey(name, seed), []).append(number)
        self._unanswered = {(plan.key, seed, split) for plan, seed in self.plans for split in splits}
        self.queued: dict[str, int] = {}
        self.restart(())

    @property
    def left(self) -> int:
        """Splits that some strategy has still to answer, seed by seed."""
        return len(self._unanswered)

    def restart(self, running: Collection[str]) -> None:
        """Forget what was queued, but for what runs."""
        self.first: deque[AnswerTask] = deque()
        self.last: deque[AnswerTask] = deque()
        self.queued = {key: number for key, number in self.queued.items() if key in running}
        self._awaited: dict[str, list[int]] = {}
        self.look_again()

    def look_again(self) -> None:
        """All pipelines are due, not only those that the last end of a task touches."""
        self.due = set(range(len(self.plans)))

    def add_answer(self, row: PipelineRecord) -> None:
        """An answered pipeline."""
        self._unanswered.discard((PlanKey(row.strategy, row.loss), row.seed, row.split))

    def settled(self, key: SearchKey) -> None:
        """A search has found what it was to find."""
        self.due.update(self._using.get(key, ()))

    def end(self, key: str) -> None:
        """An answering has ended, well or not."""
        if (number := self.queued.pop(key, None)) is not None:
            self.due.add(number)
        self.due.update(self._awaited.pop(key, ()))

    def queue(self, outcomes: Mapping[SearchKey, Outcome], facts: Facts, failed: Container[str]) -> None:
        """Queue what is due and can be answered by now; what awaits another is due again when that has ended."""
        # Those whose answers others may reuse first: the others wait for them if they are known to come.
        due = sorted(self.due, key=lambda n: (facts.graph.source_of(self.plans[n][0]) is not None, n))
        self.due.clear()
        for number in due:
            for task in tasks(*self.plans[number], outcomes, facts, self.splits):
                if task.key not in failed and task.key not in self.queued:
                    self._add(task, number, facts)

    def _add(self, task: AnswerTask, number: int, facts: Facts) -> None:
        pipeline, awaited = reuse(task, facts, self.queued)
        if awaited:
            self._awaited.setdefault(awaited, []).append(number)
            return
        untrained = not self.plans[number][0].searches and task.split == "validation"
        (self.first if untrained else self.last).append(replace(task, same_generator=pipeline))
        self.queued[task.key] = number


def tasks(
    plan: PipelinePlan, seed: int, outcomes: Mapping[SearchKey, Outcome], facts: Facts, splits: Sequence[str]
) -> Iterator[AnswerTask]:
    """What a pipeline of the winners has still to answer; nothing while a winner is missing."""
    found = {name: winner.trial_id for name in plan.searches if (winner := outcomes[SearchKey(name, seed)].winner)}
    if len(found) < len(plan.searches):
        return
    embedder, generator = (found[name] if name else None for name in (plan.embedder_search, plan.generator_search))
    name = pipeline_id(*plan.key, seed, embedder, generator, facts.key)
    for split in splits:
        if (name, split) not in facts.answered:
            yield AnswerTask(f"{name}@{split}", name, *plan.key, seed, split, embedder, generator)
