"""How far a study has come, what it has spent and what is left: for whoever watches. Reads no file, knows no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raggrid.records import PipelineRecord, Status, TrialRecord, score_of
from raggrid.space.settings import Budget
from raggrid.strategies import STRATEGIES
from raggrid.study.budget import BudgetClock
from raggrid.study.events import Progress
from raggrid.study.tasks import PhaseTask, Task


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What all sessions of a study have held so far, idle time included.

    ``dollars`` is None without a price. ``budget_share``: of the limit that is nearest, 1 where it is used up; None
    without a budget. ``budget_seconds_left``: wall seconds until then on the devices held now.
    """

    device_seconds: float
    wall_seconds: float
    dollars: float | None
    budget_share: float | None
    budget_seconds_left: float | None


def spend(clock: BudgetClock) -> Spend:
    """What was spent by now: by earlier sessions, and by the one that the clock counts."""
    gone = max(0.0, clock.now() - clock.began)
    device_seconds = clock.used_device_seconds + gone * clock.devices
    wall_seconds = clock.used_wall_seconds + gone
    hourly = clock.dollars_per_hour
    dollars = None if hourly is None else clock.used_dollars + gone * hourly / 3600
    shares = _shares(clock.budget, device_seconds, wall_seconds, dollars)
    left = clock.limit_seconds() - gone
    return Spend(
        device_seconds=device_seconds, wall_seconds=wall_seconds, dollars=dollars,
        budget_share=max(shares, default=None), budget_seconds_left=None if math.isinf(left) else max(0.0, left),
    )  # fmt: skip


def _shares(budget: Budget, device_seconds: float, wall_seconds: float, dollars: float | None) -> list[float]:
    used = (
        (budget.device_hours, device_seconds / 3600),
        (budget.wall_hours, wall_seconds / 3600),
        (budget.dollars, dollars),
    )
    return [min(1.0, spent / limit) for limit, spent in used if limit and spent is not None]


def share_done(progress: Progress, running: Iterable[tuple[Task, int]]) -> float:
    """The share of the study's tasks that is done, running trials counted by their steps; in [0, 1]."""
    done = float(progress.trials + progress.answers)
    done += sum(step / task.run.max_steps for task, step in running if isinstance(task, PhaseTask))
    return min(1.0, done / max(1, progress.planned_trials + progress.planned_answers))


def seconds_left(share: float, gone: float, spent: Spend | None = None) -> float | None:
    """Wall seconds to the end if the rest goes as fast as what was done; no more than the budget leaves.

    None while too little is done to tell; 0 at the end.
    """
    if share >= 1.0:
        return 0.0
    if share <= 0.05:
        return None
    limit = spent.budget_seconds_left if spent else None
    return min(gone * (1 - share) / share, math.inf if limit is None else limit)


def best_answer(answers: Iterable[PipelineRecord], metric: str) -> PipelineRecord | None:
    """The pipeline that scores best so far: on the test split, or on validation while that has no answers.

    Controls are left out. Ties go to the one that was answered first.
    """
    rows = [row for row in answers if not STRATEGIES[row.strategy].is_control]
    reported = [row for row in rows if row.split == "test"] or rows
    return max(reported, key=lambda row: score_of(row, metric) or 0.0, default=None)


def trials_by_status(ended: Iterable[TrialRecord], running: Iterable[Task]) -> Mapping[Status, int]:
    """How many trials ended in each way, and how many run; a status without any is missing."""
    alive = sum(isinstance(task, PhaseTask) for task in running)
    return Counter([*(row.status for row in ended), *[Status.RUNNING] * alive])
