"""What a trial, and what all sessions were charged: sums over rows of the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from raggrid.records import Category, CurveRecord, LedgerRecord, Report, TrainingProgress
from raggrid.study.entries import Spent


def charged_before(own: Sequence[LedgerRecord]) -> Spent:
    """What a trial was charged by now, by ``own``, all its rows."""
    seconds = {category: sum(row.wall_seconds for row in own if row.category == category) for category in Category}
    return Spent(train=seconds[Category.TRAIN], evaluate=seconds[Category.EVALUATE])


def spent_of(progress: TrainingProgress) -> Spent:
    """What a checkpoint holds."""
    return Spent(train=progress.train_seconds, evaluate=progress.evaluate_seconds)


@dataclass(frozen=True, kw_only=True)
class Charged:
    """The time of a trial, all its attempts and segments: device-seconds by purpose, and wall seconds."""

    train: float
    evaluate: float
    lost: float
    wall_seconds: float


def whole_trial(report: Report, own: Sequence[LedgerRecord], wall_seconds: float) -> Charged:
    """A trial that ended with ``report``, ``wall_seconds`` after it was last handed out. ``own``: all its rows."""
    devices = report.num_workers * report.devices_per_worker
    return Charged(
        train=report.train_seconds * devices,
        evaluate=report.evaluate_seconds * devices,
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


def sums_by_type(ledger: Sequence[LedgerRecord]) -> dict[str, float]:
    """Device-seconds by type of device, those charged last at the end."""
    sums = dict[str, float]()
    for row in ledger:
        sums[row.device_type] = sums.pop(row.device_type, 0.0) + row.device_seconds
    return sums


def _sum(rows: Sequence[LedgerRecord], category: Category) -> float:
    return sum(row.device_seconds for row in rows if row.category == category)


def wall_seconds(ledger: Sequence[LedgerRecord], devices: float) -> float:
    """Wall seconds that earlier sessions took: all that a session charged adds up to the time of the devices it held.

    Args:
        ledger: of those sessions; each has closed it with a row of idle time for each type of device, that began when
            the session did and says how many devices it held.
        devices: of a session that has not.
    """
    sessions = dict[float, float]()
    for row in ledger:
        if row.category == Category.IDLE:
            sessions[row.started_at] = sessions.get(row.started_at, 0.0) + _held(row)
    starts = sorted(sessions)
    held = [sessions[began] for began in starts] or [devices]
    return sum(row.device_seconds / held[max(0, bisect_right(starts, row.started_at) - 1)] for row in ledger)


def _held(idle: LedgerRecord) -> float:
    """The devices of a session, by its row of idle time: of workers that share GPUs each has less than one."""
    return idle.device_seconds / idle.wall_seconds if idle.wall_seconds else idle.num_workers
