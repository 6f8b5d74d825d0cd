"""Who is charged what: every rule, as a function of times and facts. No clock, no disk.

All times are seconds since the epoch by the study's clock. A device-second is a second of one device that is held.
Whoever holds devices charges their time once: a trial its start, its training and its evaluations; a pipeline its
answering; the study the embedding of the corpus and what was idle. What a dead process did after its last checkpoint is
lost, and charged to its trial by whoever learns of the death.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from raggrid.records import Category, CurveRecord, LedgerRecord, Report, TrainingProgress
from raggrid.study.tasks import Dispatch


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who is charged and for which devices; neither a trial nor a pipeline: the study itself."""

    trial_id: str | None = None
    pipeline_id: str | None = None
    num_workers: int = 1
    device_type: str = "cpu"

    def charge(self, category: Category, wall_seconds: float, started_at: float) -> LedgerRecord:
        """``wall_seconds`` of every worker, from ``started_at`` on."""
        return LedgerRecord(
            trial_id=self.trial_id, pipeline_id=self.pipeline_id, category=category,
            device_seconds=wall_seconds * self.num_workers, wall_seconds=wall_seconds, num_workers=self.num_workers,
            device_type=self.device_type, started_at=started_at,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Charged:
    """The time of a trial, all its attempts and segments: device-seconds by purpose, and wall seconds."""

    train: float
    evaluate: float
    lost: float
    wall_seconds: float


def start_up(account: Account, given: Dispatch, up_at: float, saved_at: float | None = None) -> list[LedgerRecord]:
    """The start of a process that was up at ``up_at``: from being given its task it held its device.

    Args:
        account: of the task.
        given: what the process was given, and when.
        up_at: when it began to work.
        saved_at: the last checkpoint of an earlier process of the same trial, where one has died: what that did
            afterwards is lost. What a killed session lost is charged by `books_of_killed_session` instead.
    """
    start = account.charge(Category.STARTUP, max(0.0, up_at - given.at), given.at)
    if saved_at is None or saved_at < given.session_began:
        return [start]
    if saved_at >= given.at:  # Ray started it anew by itself: the process that died has charged the start already
        return [account.charge(Category.LOST, max(0.0, up_at - saved_at), saved_at)]
    died_at = given.released_at if given.released_at > saved_at else up_at  # since then the trial held nothing
    return [start, account.charge(Category.LOST, max(0.0, died_at - saved_at), saved_at)]


def metered(account: Account, before: TrainingProgress, now: TrainingProgress, since: float) -> list[LedgerRecord]:
    """What a trial has trained and evaluated since it stood ``before``, at ``since``."""
    spent = {
        Category.TRAIN: now.train_seconds - before.train_seconds,
        Category.EVALUATE: now.evaluate_seconds - before.evaluate_seconds,
    }
    return [account.charge(category, seconds, since) for category, seconds in spent.items() if seconds > 0]


def crash(account: Account, own: Sequence[LedgerRecord], since: float, until: float) -> list[LedgerRecord]:
    """A trial that died for good: what it held since it was handed out and has not charged itself is lost.

    ``own``: all that the trial was charged.
    """
    charged = sum(row.device_seconds for row in own if row.started_at >= since)
    left = until - since - charged / account.num_workers
    return [account.charge(Category.LOST, left, since)] if left > 0 else []


def whole_trial(report: Report, own: Sequence[LedgerRecord], wall_seconds: float) -> Charged:
    """A trial that ended with ``report``, ``wall_seconds`` after it was last handed out.

    ``own``: all that it was charged; may be left out where one process did it all in one go.
    """
    return Charged(
        train=report.train_seconds * report.num_workers,
        evaluate=report.evaluate_seconds * report.num_workers,
        lost=_sum(own, Category.LOST),
        wall_seconds=max(wall_seconds, sum(row.wall_seconds for row in own)),
    )


def stopped_trial(last: CurveRecord, own: Sequence[LedgerRecord]) -> Charged:
    """A trial that will not continue from its checkpoint, which it saved with ``last``."""
    return Charged(
        train=last.device_seconds,
        evaluate=_sum(own, Category.EVALUATE),
        lost=_sum(own, Category.LOST),
        wall_seconds=sum(row.wall_seconds for row in own),
    )


def _sum(rows: Sequence[LedgerRecord], category: Category) -> float:
    return sum(row.device_seconds for row in rows if row.category == category)


def idle(devices: Account, ledger: Sequence[LedgerRecord], began: float, until: float) -> LedgerRecord:
    """What a session's ``devices`` held between the two times and nobody was charged for in ``ledger``."""
    charged = sum(row.device_seconds for row in ledger)
    return devices.charge(Category.IDLE, max(0.0, until - began - charged / devices.num_workers), began)


def books_of_killed_session(
    trial: Account, devices: Account, ledger: Sequence[LedgerRecord], saved_at: Mapping[str, float],
    began: float, until: float,
) -> Iterator[LedgerRecord]:  # fmt: skip
    """A session whose driver was killed: work after a trial's last checkpoint is lost, and the rest was idle.

    Args:
        trial: what each of its trials held.
        devices: what the session held.
        ledger: what it had charged.
        saved_at: the last checkpoint of each trial that may have been running, by its id.
        began, until: its start, and its last sign of life.
    """
    left = idle(devices, ledger, began, until).device_seconds
    for trial_id, since in saved_at.items():
        wall = min(max(0.0, until - since), left / trial.num_workers)
        if since >= began and wall > 0:
            left -= wall * trial.num_workers
            yield replace(trial, trial_id=trial_id).charge(Category.LOST, wall, since)
    if left > 0:
        yield devices.charge(Category.IDLE, left / devices.num_workers, began)


def wall_seconds(ledger: Sequence[LedgerRecord], devices: int) -> float:
    """Wall seconds that earlier sessions took: all that a session charged adds up to the time of the devices it held.

    Args:
        ledger: of those sessions; each has closed it with a row of idle time that began when the session did and says
            how many devices it held.
        devices: of a session that has not.
    """
    sessions = sorted((row.started_at, row.num_workers) for row in ledger if row.category == Category.IDLE)
    starts = [began for began, _ in sessions]
    held = [count for _, count in sessions] or [devices]
    return sum(row.device_seconds / held[max(0, bisect_right(starts, row.started_at) - 1)] for row in ledger)
