"""Who is charged what: every rule, as a pure function of what happens in a session. No clock, no disk.

    ledger = Ledger(devices, began)
    rows = [row for event in events for row in ledger.enter(event)] + ledger.close(ended)

The rows add up to what the session held, whatever happened: a task holds its devices from being handed out until it
ends, or where others hold all of them, from when they let go; what its process says that it did meanwhile is charged by
purpose, what a dead process did after its last checkpoint is lost, and the rest was idle. All times are of the driver's
one clock, which only goes forward; processes on other machines report durations, so that no two clocks are ever
compared. A device-second is a second of one device that is held.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raggrid.prices import is_called
from raggrid.records import Category, LedgerRecord, TrainingProgress
from raggrid.study.charges import charged_before, spent_of
from raggrid.study.entries import Account, Begun, Drained, Ended, Entry, Held, Lost, Reported, Saved, Spent, Started, Up

PURPOSES = {
    "startup": Category.STARTUP, "index": Category.INDEX, "train": Category.TRAIN, "evaluate": Category.EVALUATE,
}  # fmt: skip


@dataclass
class _Open:
    """A task that holds the devices of ``workers``, 0 while it waits for them: charged ``until``; its process stands at
    ``told``, its trial was charged ``done``.

    What a process trains again that was charged to its trial before is lost: a trial is charged once for each step.
    """

    account: Account
    handed_out: float
    until: float
    told: Spent
    done: Spent
    up: bool = False
    saved: Spent | None = None
    workers: int = 0
    since: float = 0.0

    def work(self, spent: Spent, until: float, *, first: bool = False) -> Iterator[LedgerRecord]:
        """What led to ``spent``: the last thing before ``until``, or the ``first`` since the last charge."""
        pieces = [piece for name in PURPOSES for piece in self._pieces(name, spent)]
        total, room = sum(seconds for _, seconds in pieces), max(0.0, until - self.until)
        share = min(1.0, room / total) if total else 0.0  # a worker's clock may run a little faster
        at = self.until if first else until - share * total
        for category, seconds in pieces:
            yield self.account.charge(category, share * seconds, at)
            at += share * seconds
        self.until = at if first else max(self.until, until)
        self.told = spent
        self.done = replace(
            self.done, train=max(self.done.train, spent.train), evaluate=max(self.done.evaluate, spent.evaluate)
        )

    def _pieces(self, name: str, spent: Spent) -> Iterator[tuple[Category, float]]:
        told, now, done = (float(getattr(each, name)) for each in (self.told, spent, self.done))
        again = max(0.0, min(now, done) - told) if name in ("train", "evaluate") else 0.0
        if again:
            yield Category.LOST, again
        if now - told > again:
            yield PURPOSES[name], now - told - again

    def saved_work(self, until: float) -> list[LedgerRecord]:
        """What its last checkpoint holds and nobody was told."""
        if self.saved is None:
            return []
        spent = replace(
            self.told, train=max(self.told.train, self.saved.train),
            evaluate=max(self.told.evaluate, self.saved.evaluate),
        )  # fmt: skip
        return list(self.work(spent, until, first=True))

    def rest(self, category: Category, until: float) -> list[LedgerRecord]:
        """All that was not charged before ``until``."""
        left, since = until - self.until, self.until
        self.until = max(self.until, until)
        return [self.account.charge(category, left, since)] if left > 0 else []


@dataclass
class Ledger:
    """The books of one session that holds ``devices`` from ``began`` on, an account for each type of device.

    Device-seconds by type: ``charged`` are in the books already, ``held`` were held before by devices of earlier. Types
    are named as the cluster does, such as A10G, until a process tells the device's own name, such as NVIDIA A10G.
    """

    devices: tuple[Account, ...]
    began: float
    charged: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    _open: dict[str, _Open] = field(default_factory=dict)
    _since: float | None = None
    _busy: int = 0
    _waiting: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._known = list(self.charged)

    @property
    def open(self) -> tuple[str, ...]:
        """The tasks that hold devices or wait for them."""
        return tuple(self._open)

    def held_since(self, key: str) -> float | None:
        """Since when a task holds its devices; None where it holds none. May be called from another thread."""
        task = self._open.get(key)
        return task.since if task and task.workers else None

    def enter(self, event: Entry) -> list[LedgerRecord]:
        """The rows that follow from an event. One about a task that holds nothing changes nothing."""
        rows = list(self._rows(event))
        for row in rows:
            self._enter_charge(row)
        return rows

    def _enter_charge(self, row: LedgerRecord) -> None:
        self.charged[row.device_type] = self.charged.get(row.device_type, 0.0) + row.device_seconds

    def _rows(self, event: Entry) -> Iterator[LedgerRecord]:
        if isinstance(event, Held):
            self.held, self._since, self.devices = self.held_by(event.at), event.at, event.devices
            self._hold_next(event.at)
        elif isinstance(event, Started):
            earlier = replace(event.earlier, startup=0.0, index=0.0)
            self._open[event.key] = _Open(event.account, event.at, event.at, earlier, earlier)
            self._waiting.append(event.key)
            self._hold_next(event.at)
        elif event.key in self._open:
            yield from self._of_task(self._open[event.key], event)

    def _hold_next(self, at: float) -> None:
        """Those that have waited longest hold their devices, as far as there are any."""
        room = sum(each.num_workers for each in self.devices) - self._busy
        while self._waiting and (task := self._open[self._waiting[0]]).account.num_workers <= room:
            room -= task.account.num_workers
            self._hold(self._waiting[0], at)

    def _hold(self, key: str, at: float) -> None:
        task = self._open[key]
        at = max(at, task.handed_out)  # whatever a worker's clock says
        if not task.workers:
            self._waiting.remove(key)
            task.workers = task.account.num_workers
            self._busy += task.workers
        elif task.up or at >= task.since:
            return
        task.since = task.until = at  # what its process says counts more than the devices that seemed to be held

    def _let_go(self, key: str, at: float) -> None:
        task = self._open.pop(key)
        if not task.workers:
            self._waiting.remove(key)
        self._busy -= task.workers
        self._hold_next(at)

    def _of_task(
        self, task: _Open, event: Begun | Up | Reported | Saved | Lost | Drained | Ended
    ) -> Iterator[LedgerRecord]:
        if isinstance(event, Begun | Up):
            self._hold(event.key, event.at)
        if isinstance(event, Up):
            name = event.account.device_type
            self._known = [*(known for known in self._known if known != name), name]
            yield from _up(task, event)
        elif isinstance(event, Reported):
            yield from task.work(event.spent, event.at)
        elif isinstance(event, Saved):
            task.saved = event.spent
        elif not isinstance(event, Begun):
            if task.workers and not isinstance(event, Ended):
                yield from task.saved_work(event.at)
            if task.workers and isinstance(event, Lost):
                yield from task.rest(Category.LOST, event.at)
            self._let_go(event.key, event.at)

    def known_held(self, at: float, held: Mapping[str, float]) -> None:
        """The session has said itself what it had held by then: device-seconds by type."""
        self.held, self._since = dict(held), at

    def held_by(self, at: float) -> dict[str, float]:
        """What was held by then: device-seconds by type. May be called from another thread."""
        passed = max(0.0, at - (self.began if self._since is None else self._since))
        held = dict(self.held)
        for each in self.devices:
            held[each.device_type] = held.get(each.device_type, 0.0) + passed * each.num_devices
        return held

    def close(self, at: float) -> list[LedgerRecord]:
        """The rows that end a session: tasks that still hold devices lose what they did not save, the rest was idle.

        The last rows, one for each type of device, are of idle time. They began when the session did, and say how many
        devices it held: on average, where they came and went.
        """
        self.held, self._since = self.held_by(at), at
        rows = []
        for key in [*self._waiting, *self.open]:  # first those that wait: they get nothing that others let go of
            for row in self._rows(Lost(at=at, key=key)):
                rows += self._within(row)
        return [*rows, *self._idle(at - self.began)]

    def _left(self) -> float:
        return max(0.0, math.fsum(self.held.values()) - math.fsum(self.charged.values()))

    def _within(self, row: LedgerRecord) -> list[LedgerRecord]:
        """A row, cut to what the session held and has not charged: not all that may have run at its death did."""
        share = min(1.0, self._left() / row.device_seconds) if row.device_seconds else 0.0
        if not share:
            return []
        cut = replace(row, device_seconds=share * row.device_seconds, wall_seconds=share * row.wall_seconds)
        self._enter_charge(cut)
        return [cut]

    def _idle(self, seconds: float) -> list[LedgerRecord]:
        """What is left of each type. Where a type was charged more than it held, the others were charged less."""
        held, left = dict[str, float](), self._left()
        for kind, own in self.held.items():
            name = self._reported(kind)
            held[name] = held.get(name, 0.0) + own
        gaps = {name: max(0.0, own - self.charged.get(name, 0.0)) for name, own in held.items()}
        parts = {name: left * gap / (math.fsum(gaps.values()) or 1.0) for name, gap in gaps.items()}
        rows = [_idle_row(name, parts[name], own / seconds if seconds > 0 else 1.0, self.began)
                for name, own in held.items()]  # fmt: skip
        for row in rows:
            self._enter_charge(row)
        return rows

    def _reported(self, kind: str) -> str:
        """The device's own name of a type of the cluster's; that itself where no process told one."""
        if kind in self._known or not self._known:
            return kind
        named = [name for name in self._known if is_called(name, kind.partition("-")[0])]
        return (named or (self._known if len(self.held) == 1 else [kind]))[-1]


def _idle_row(device_type: str, device_seconds: float, devices: float, began: float) -> LedgerRecord:
    return LedgerRecord(
        trial_id=None, pipeline_id=None, category=Category.IDLE, device_seconds=device_seconds,
        wall_seconds=device_seconds / (devices or 1.0), num_workers=max(1, round(devices)), device_type=device_type,
        started_at=began,
    )  # fmt: skip


def _up(task: _Open, event: Up) -> Iterator[LedgerRecord]:
    """From holding its devices until a process works is its start; what an earlier one did since its last word is lost,
    but for what ``event`` goes on from."""
    if task.up:
        task.saved = event.spent
        yield from task.saved_work(event.at)
    task.account = event.account
    yield from task.rest(Category.LOST if task.up else Category.STARTUP, event.at)
    task.told, task.up = replace(event.spent or task.told, startup=0.0, index=0.0), True


def books_of_killed_session(
    books: Ledger, trial: Account, own: Mapping[str, Sequence[LedgerRecord]],
    saved: Mapping[str, TrainingProgress], until: float, handed_out: Mapping[str, float],
) -> list[LedgerRecord]:  # fmt: skip
    """What a session has still to charge whose driver was killed: by the checkpoints that its trials left.

    Args:
        books: of the session, with what it had charged.
        trial: what each of its trials held.
        own: all that each trial was charged, in any session, by its id.
        saved: the last checkpoint of each trial that may have been running, by its id.
        until: the driver's last sign of life.
        handed_out: since when each trial held its devices that ran then, by its id; those that waited are left out.
    """
    for name, progress in saved.items():
        rows = own.get(name, ())
        since = handed_out.get(name) if progress.paused else _since(books, progress, rows)
        if since is not None:
            since = max(since, handed_out.get(name, since))
            account = replace(trial, trial_id=name)
            books.enter(Started(at=min(since, until), key=name, account=account, earlier=charged_before(rows)))
            books.enter(Saved(key=name, spent=spent_of(progress)))
    return books.close(until)


def _since(books: Ledger, progress: TrainingProgress, own: Sequence[LedgerRecord]) -> float | None:
    """Until when a trial of a killed session was charged; None where it did not run in that session."""
    last = max((row.started_at + row.wall_seconds for row in own), default=-math.inf)
    if last >= books.began:
        return last
    if progress.saved_at < books.began:
        return None
    # Killed before anything of it was written: it has trained for what its checkpoint says and its rows do not.
    known, kept = charged_before(own), spent_of(progress)
    return max(books.began, progress.saved_at - (kept.train - known.train) - (kept.evaluate - known.evaluate))
