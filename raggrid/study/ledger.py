"""Who is charged what: every rule, as a pure function of what happens in a session. No clock, no disk.

    ledger = Ledger(devices, began)
    rows = [row for event in events for row in ledger.enter(event)] + ledger.close(ended)

The rows add up to what the session held, whatever happened: a task holds its devices from being handed out until it
ends; what its process says that it did meanwhile is charged by purpose, what a dead process did after its last
checkpoint is lost, and the rest was idle. All times are of the driver's one clock, which only goes forward; processes
on other machines report durations, so that no two clocks are ever compared. A device-second is a second of one device
that is held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raggrid.records import Category, LedgerRecord, TrainingProgress
from raggrid.study.charges import charged_before, spent_of
from raggrid.study.entries import Account, Drained, Ended, Entry, Held, Lost, Reported, Saved, Spent, Started, Up

PURPOSES = {
    "startup": Category.STARTUP, "index": Category.INDEX, "train": Category.TRAIN, "evaluate": Category.EVALUATE,
}  # fmt: skip


@dataclass
class _Open:
    """A task that holds devices: charged ``until``; its process stands at ``told``, its trial was charged ``done``.

    What a process trains again that was charged to its trial before is lost: a trial is charged once for each step.
    """

    account: Account
    until: float
    told: Spent
    done: Spent
    up: bool = False
    saved: Spent | None = None

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
    """The books of one session that holds ``devices`` from ``began`` on.

    ``charged``: device-seconds of it that are in the books already.
    """

    devices: Account
    began: float
    charged: float = 0.0
    _open: dict[str, _Open] = field(default_factory=dict)
    _held: float = 0.0
    _since: float | None = None

    @property
    def open(self) -> tuple[str, ...]:
        """The tasks that hold devices."""
        return tuple(self._open)

    def enter(self, event: Entry) -> list[LedgerRecord]:
        """The rows that follow from an event. One about a task that holds nothing changes nothing."""
        rows = list(self._rows(event))
        self.charged += sum(row.device_seconds for row in rows)
        return rows

    def _rows(self, event: Entry) -> Iterator[LedgerRecord]:
        if isinstance(event, Held):
            self._hold(event.at, event.num_workers)
        elif isinstance(event, Started):
            earlier = replace(event.earlier, startup=0.0, index=0.0)
            self._open[event.key] = _Open(event.account, event.at, earlier, earlier)
        elif event.key in self._open:
            yield from self._of_task(self._open[event.key], event)

    def _of_task(self, task: _Open, event: Up | Reported | Saved | Lost | Drained | Ended) -> Iterator[LedgerRecord]:
        if isinstance(event, Up):
            yield from _up(task, event)
        elif isinstance(event, Reported):
            yield from task.work(event.spent, event.at)
        elif isinstance(event, Saved):
            task.saved = event.spent
        else:
            if not isinstance(event, Ended):
                yield from task.saved_work(event.at)
            if isinstance(event, Lost):
                yield from task.rest(Category.LOST, event.at)
            del self._open[event.key]

    def _hold(self, at: float, num_workers: int) -> None:
        self._held += self.devices.num_devices * max(0.0, at - (self.began if self._since is None else self._since))
        self._since, self.devices = at, replace(self.devices, num_workers=num_workers)

    def close(self, at: float) -> list[LedgerRecord]:
        """The rows that end a session: tasks that still hold devices lose what they did not save, the rest was idle.

        The last row is of idle time, began when the session did, and says how many devices it held.
        """
        self._hold(at, self.devices.num_workers)
        rows = []
        for key in self.open:
            for row in self._rows(Lost(at=at, key=key)):
                rows += self._within(row)
        left = max(0.0, self._held - self.charged)
        self.charged += left
        return [*rows, self.devices.charge(Category.IDLE, left / (self.devices.num_devices or 1.0), self.began)]

    def _within(self, row: LedgerRecord) -> list[LedgerRecord]:
        """A row, cut to what the session held and has not charged: not all that may have run at its death did."""
        share = min(1.0, max(0.0, self._held - self.charged) / row.device_seconds) if row.device_seconds else 0.0
        if not share:
            return []
        self.charged += share * row.device_seconds
        return [replace(row, device_seconds=share * row.device_seconds, wall_seconds=share * row.wall_seconds)]


def _up(task: _Open, event: Up) -> Iterator[LedgerRecord]:
    """From being handed out until a process works is its start; what an earlier one did since its last word is lost,
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
        handed_out: since when each trial held its devices that ran then, by its id.
    """
    for name, progress in saved.items():
        rows = own.get(name, ())
        since = handed_out.get(name) if progress.paused else _since(books, progress, rows)
        if since is not None:
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
