"""Tasks in shards: over how many slots, which shards are under way, and their reports as that of one task.

Shards end an answering sooner, and each begins with a start of its own: loading the models, in a process that may be
new. So there are as many as let all answerings that wait end first, and never more than are worth their starts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from raggrid.evaluation.metrics import means, scores_of
from raggrid.records import PredictionRecord, Report, Status
from raggrid.study.tasks import AnswerTask, IndexTask, Task

WORTH = 1.0
"""A shard answers for at least this many times as long as its start takes."""
EMBEDDED = 1 << 15
"""Passages that a shard of the corpus has at least: ten seconds or more of a GPU."""
EMBEDDED_BY_CPU = 1 << 9
"""The same of a CPU."""


@dataclass
class Spreading:
    """What is known of answerings. Nothing is spread before one was measured, or with one slot.

    ``slots``: tasks that run at once. ``questions``: by split. ``batch_size``: questions that are answered together; a
    shard has as many or more.
    """

    slots: int = 1
    questions: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 1
    _starts: list[float] = field(default_factory=list)
    _paces: dict[bool, list[float]] = field(default_factory=dict)

    def add(self, task: AnswerTask, report: Report, seconds: float) -> None:
        """An answering, or a shard of one, has completed; it held its slot for ``seconds``."""
        if report.num_questions:
            self._starts.append(max(0.0, seconds - report.evaluate_seconds))
            pace = report.evaluate_seconds / report.num_questions
            self._paces.setdefault(task.same_generator is None, []).append(pace)

    def num_shards(self, task: AnswerTask, answerings: int, others: int) -> int:
        """How many shards an answering is to have.

        Args:
            task: the answering.
            answerings: how many could start now, this one included.
            others: other tasks that run or could start now: they have their slots first.
        """
        paces = self._paces.get(task.same_generator is None)  # one that reuses answers says little about others
        free = self.slots - others
        if not paces or free < 2:
            return 1
        questions = self.questions.get(task.split, 0)
        work = median(paces) * questions
        return best_num_shards(median(self._starts), work, min(free, questions // self.batch_size), answerings, free)


def best_num_shards(start: float, work: float, most: int, answerings: int, free: int) -> int:
    """The number of shards per answering with which all of them end first; the fewest of several.

    Args:
        start: seconds that each shard takes before it answers.
        work: seconds of answering in all.
        most: shards that an answering may have.
        answerings: how many could start now.
        free: slots that nothing else needs.
    """
    most = min(most, int(work / (WORTH * start)) if start else most)

    def seconds(count: int) -> float:
        return math.ceil(answerings * count / free) * (start + work / count)

    return min(range(1, max(1, most) + 1), key=seconds)


@dataclass
class _Spread:
    """An answering in shards: those that have not ended, by key, and the last reports of those that have."""

    whole: AnswerTask
    open: set[str]
    ended: dict[int, Report] = field(default_factory=dict)


class Shards:
    """The answerings that are under way in shards. ``waiting``: the shards that have still to start."""

    def __init__(self) -> None:
        self.waiting: deque[AnswerTask] = deque()
        self._spread: dict[str, _Spread] = {}

    @property
    def under_way(self) -> set[str]:
        """The keys of the answerings."""
        return {spread.whole.key for spread in self._spread.values()}

    def split(self, task: AnswerTask, count: int) -> AnswerTask:
        """The first of ``count`` shards of an answering; the others wait. With one shard it is the answering itself."""
        if count == 1:
            return task
        shards = [replace(task, key=f"{task.key}#{n + 1}", shard=n, num_shards=count) for n in range(count)]
        spread = _Spread(task, {shard.key for shard in shards})
        self._spread.update(dict.fromkeys(spread.open, spread))
        self.waiting.extend(shards[1:])
        return shards[0]

    def whole(self, task: Task) -> Task:
        """The answering that a shard is part of; any other task is whole."""
        return self._spread[task.key].whole if task.key in self._spread else task

    def end(self, task: Task, report: Report) -> Report | None:
        """The last report of the whole task, now that ``task`` has ended with ``report``; None if shards are left.

        Once a shard has not completed, those that wait are not started any more.
        """
        spread = self._spread.pop(task.key, None)
        if spread is None or not isinstance(task, AnswerTask):
            return report
        spread.open.discard(task.key)
        spread.ended[task.shard] = report
        if report.status != Status.COMPLETED:
            self._drop(spread)
        return None if spread.open else joined([spread.ended[n] for n in sorted(spread.ended)], task.num_shards)

    def drop_waiting(self) -> list[AnswerTask]:
        """Start no more shards; the answerings that have nothing left to end by that."""
        spreads = {spread.whole.key: spread for spread in self._spread.values()}
        for spread in spreads.values():
            self._drop(spread)
        return [spread.whole for spread in spreads.values() if not spread.open]

    def _drop(self, spread: _Spread) -> None:
        dropped = {shard.key for shard in self.waiting} & spread.open
        self.waiting = deque(shard for shard in self.waiting if shard.key not in dropped)
        spread.open -= dropped
        for key in dropped:
            del self._spread[key]


def joined(parts: Sequence[Report], num_shards: int) -> Report:
    """The last reports of an answering's shards as that of one task: the first that did not complete, else all rows in
    the order of the questions, and the means over them; interrupted where shards were never started."""
    for part in parts:
        if part.status != Status.COMPLETED:
            return part
    if len(parts) < num_shards:
        return replace(parts[-1], status=Status.INTERRUPTED, rows=())
    rows = tuple(row for part in parts for row in part.rows)
    scored = [scores_of(row) for row in rows if isinstance(row, PredictionRecord)]
    return replace(
        parts[-1], rows=rows, scores=means(scored) if scored else parts[0].scores,
        num_questions=sum(part.num_questions for part in parts),
        startup_seconds=sum(part.startup_seconds for part in parts),
        evaluate_seconds=sum(part.evaluate_seconds for part in parts),
    )  # fmt: skip


def index_shards(num_passages: int, slots: int, *, on_gpus: bool) -> list[IndexTask]:
    """What embeds a corpus side by side, before the index task finds the vectors there; nothing for a small corpus."""
    count = min(slots, num_passages // (EMBEDDED if on_gpus else EMBEDDED_BY_CPU))
    return [IndexTask(f"index#{n + 1}", n, count) for n in range(count)] if count > 1 else []
