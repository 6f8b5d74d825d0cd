"""A study at one moment, for whoever watches it: on a terminal, on a page, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from raggrid.records import CurveRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.study.events import Progress
from raggrid.study.outlook import Spend, seconds_left, share_done
from raggrid.study.tasks import AnswerTask, PhaseTask, Task


class Condition(StrEnum):
    """How a study stands as a whole.

    ``silent``: its search gave no sign of life for a while; it was killed, or its machine cannot be reached.
    ``not_running``: nothing runs and something is left to do, after an interrupt or at the end of a budget.
    """

    RUNNING = "running"
    COMPLETE = "complete"
    SILENT = "silent"
    NOT_RUNNING = "not_running"


@dataclass(frozen=True, kw_only=True)
class SeenTask:
    """One task as it was seen. ``started_at``: seconds since the epoch. ``seconds``: wall time; None while it runs."""

    task: Task
    report: Report
    started_at: float
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment.

    ``seen_at`` and ``alive_at`` (its last sign of life, None without an open session) are seconds since the epoch.
    ``tasks``: all that has ended, waits at a rung or runs, in the order in which they started. ``trials`` has a row for
    each trial that has begun. ``slots``: tasks that may run at once; 0 where nothing runs. ``best``: the pipeline with
    the best selection metric so far. ``num_facts`` grows with every fact that is written.
    """

    name: str
    run: str
    condition: Condition
    seen_at: float
    alive_at: float | None
    slots: int
    tasks: tuple[SeenTask, ...]
    progress: Progress
    spent: Spend
    best: PipelineRecord | None
    space: SearchSpace
    trials: tuple[TrialRecord, ...] = ()
    curves: tuple[CurveRecord, ...] = ()
    answers: tuple[PipelineRecord, ...] = ()
    num_facts: int = 0

    @property
    def running(self) -> list[SeenTask]:
        """The tasks that run."""
        return [seen for seen in self.tasks if seen.report.status == Status.RUNNING]

    @property
    def share_done(self) -> float:
        """The share of the study's tasks that is done; in [0, 1]."""
        if self.condition == Condition.COMPLETE:
            return 1.0
        unfinished = [seen for seen in self.tasks if seen.report.status in (Status.RUNNING, Status.PAUSED)]
        return share_done(self.progress, [(seen.task, seen.report.step) for seen in unfinished])

    @property
    def seconds_left(self) -> float | None:
        """Wall seconds to the end, by what was done so far and by the budget; None where that cannot be told."""
        if self.condition != Condition.RUNNING:
            return None
        return seconds_left(self.share_done, self.spent.wall_seconds, self.spent)

    def to_json(self) -> dict[str, Any]:
        """Plain data: times in seconds, scores as fractions in [0, 1]."""
        counted: dict[str, int] = {}
        for seen in self.tasks:
            if isinstance(seen.task, PhaseTask):
                counted[seen.report.status] = counted.get(seen.report.status, 0) + 1
        return {
            "name": self.name, "run": self.run, "condition": str(self.condition), "seen_at": self.seen_at,
            "alive_at": self.alive_at, "slots": self.slots, "share_done": self.share_done,
            "seconds_left": self.seconds_left, **asdict(self.progress), **asdict(self.spent),
            "trials_by_status": counted, "best": _best(self.best, self.space.selection.metric),
            "tasks": list(map(_plain, self.tasks)),
        }  # fmt: skip


def _best(row: PipelineRecord | None, metric: str) -> dict[str, Any] | None:
    if row is None:
        return None
    names = ("pipeline_id", "strategy", "loss", "split", "exact_match", "f1", "num_questions")
    return {"metric": metric, **{name: getattr(row, name) for name in names}}


def _plain(seen: SeenTask) -> dict[str, Any]:
    report = seen.report
    return {
        "key": seen.task.key, "kind": seen.task.kind, **dict(_about(seen.task)), "status": str(report.status),
        "step": report.step, "objective": report.objective, "f1": report.scores.get("f1"),
        "started_at": seen.started_at, "seconds": seen.seconds, "error": report.error,
    }  # fmt: skip


def _about(task: Task) -> Iterator[tuple[str, Any]]:
    """What is particular to a task; the same keys for all of them."""
    run = task.run if isinstance(task, PhaseTask) else None
    answer = task if isinstance(task, AnswerTask) else None
    yield "search", task.search if isinstance(task, PhaseTask) else None
    yield "embedder_lr", run.embedder_lr if run else None
    yield "generator_lr", run.generator_lr if run else None
    yield "max_steps", run.max_steps if run else None
    yield "strategy", answer.strategy if answer else None
    yield "loss", run.loss if run else answer.loss if answer else None
    yield "split", answer.split if answer else None
    yield "seed", run.seed if run else answer.seed if answer else None
