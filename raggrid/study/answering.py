"""The pipelines that a study ends with: the winners of its searches, on every split that is not for training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from raggrid.graph import PipelinePlan, StudyGraph
from raggrid.identity import pipeline_id
from raggrid.records import PipelineRecord
from raggrid.space.search_space import SearchSpace
from raggrid.study.facts import Facts
from raggrid.study.rounds import Outcome, SearchKey
from raggrid.study.tasks import AnswerTask

Planned = tuple[PipelinePlan, int]
"""A pipeline of the study under one seed."""


def planned(graph: StudyGraph, space: SearchSpace) -> list[Planned]:
    """All pipelines, seed by seed. Where nothing is trained every seed would answer alike: the first stands for all."""
    return [
        (plan, seed)
        for seed in space.seeds
        for plan in graph.pipelines
        if plan.embedder_search or plan.generator_search or seed == space.seeds[0]
    ]


def used_by(plans: Sequence[Planned]) -> Mapping[SearchKey, list[int]]:
    """The pipelines, by number, that each search's winner is part of."""
    found: dict[SearchKey, list[int]] = {}
    for number, (plan, seed) in enumerate(plans):
        for name in (plan.embedder_search, plan.generator_search):
            if name:
                found.setdefault(SearchKey(name, seed), []).append(number)
    return found


class AnswerQueue:
    """The answerings of a study's pipelines: those still to be queued, and those queued and not ended.

    ``first`` holds what trains nothing, on validation: finalists take over its answers. ``last`` the rest, which waits
    until training has no use for a device.
    """

    def __init__(self, graph: StudyGraph, space: SearchSpace, splits: Sequence[str]) -> None:
        self.splits = splits
        self.plans = planned(graph, space)
        self._used_by = used_by(self.plans)
        self._unanswered = {(p.strategy, p.loss, seed, split) for p, seed in self.plans for split in splits}
        self.restart()

    @property
    def left(self) -> int:
        """Splits that some strategy has still to answer, seed by seed."""
        return len(self._unanswered)

    def restart(self) -> None:
        """Forget what was queued."""
        self.first: deque[AnswerTask] = deque()
        self.last: deque[AnswerTask] = deque()
        self._number_of: dict[str, int] = {}
        self.look_again()

    def look_again(self) -> None:
        """All pipelines are due, not only those that the last end of a task touches."""
        self.due = set(range(len(self.plans)))

    def knows(self, key: str) -> bool:
        """Whether this answering is queued, or was taken and has not ended."""
        return key in self._number_of

    def add_answer(self, row: PipelineRecord) -> None:
        """An answered pipeline."""
        self._unanswered.discard((row.strategy, row.loss, row.seed, row.split))

    def settled(self, key: SearchKey) -> None:
        """A search has found what it was to find."""
        self.due.update(self._used_by.get(key, ()))

    def end(self, key: str) -> None:
        """An answering has ended, well or not."""
        if (number := self._number_of.pop(key, None)) is not None:
            self.due.add(number)

    def queue(
        self,
        outcomes: Mapping[SearchKey, Outcome],
        facts: Facts,
        answerable: Callable[[AnswerTask, int], AnswerTask | None],
        refused: Callable[[str], bool],
    ) -> None:
        """Queue what is due and can be answered by now; what is ``refused``, or not yet ``answerable``, is not."""
        # Those with the un-tuned embedder first: others wait for them if they are known to come.
        due = sorted(self.due, key=lambda number: (self.plans[number][0].embedder_search is not None, number))
        self.due.clear()
        for number in due:
            plan, seed = self.plans[number]
            trained = plan.embedder_search or plan.generator_search
            for task in tasks(plan, seed, outcomes, facts, self.splits):
                if refused(task.key) or self.knows(task.key):
                    continue
                if (as_wanted := answerable(task, number)) is not None:
                    (self.last if trained or task.split != "validation" else self.first).append(as_wanted)
                    self._number_of[task.key] = number


def tasks(
    plan: PipelinePlan, seed: int, outcomes: Mapping[SearchKey, Outcome], facts: Facts, splits: Sequence[str]
) -> Iterator[AnswerTask]:
    """What a pipeline of the winners has still to answer; nothing while a winner is missing."""
    sides = [
        outcomes[SearchKey(name, seed)] if name else None for name in (plan.embedder_search, plan.generator_search)
    ]
    if any(side and side.winner is None for side in sides):
        return
    embedder, generator = (side.winner.trial_id if side and side.winner else None for side in sides)
    name = pipeline_id(plan.strategy, plan.loss, seed, embedder, generator, facts.key)
    for split in splits:
        if (name, split) not in facts.answered:
            yield AnswerTask(f"{name}@{split}", name, plan.strategy, plan.loss, seed, split, embedder, generator)
