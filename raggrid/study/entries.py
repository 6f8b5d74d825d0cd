"""What happens in a session, for its `Ledger`: a task is handed out, works, reports, saves, is lost, ends. Plain data.

``at`` is the time by the session's clock, ``key`` names the task. Processes report durations, never times of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raggrid.records import Category, LedgerRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Who is charged and for which devices; neither a trial nor a pipeline: the study itself."""

    trial_id: str | None = None
    pipeline_id: str | None = None
    num_workers: int = 1
    devices_per_worker: float = 1.0
    device_type: str = "cpu"

    @property
    def num_devices(self) -> float:
        """Devices that are held, shares of them added up."""
        return self.num_workers * self.devices_per_worker

    def charge(self, category: Category, wall_seconds: float, started_at: float) -> LedgerRecord:
        """``wall_seconds`` of every worker, from ``started_at`` on."""
        return LedgerRecord(
            trial_id=self.trial_id, pipeline_id=self.pipeline_id, category=category,
            device_seconds=wall_seconds * self.num_devices, wall_seconds=wall_seconds, num_workers=self.num_workers,
            device_type=self.device_type, started_at=started_at,
        )  # fmt: skip


def accounts_of(by_type: Mapping[str, int], devices_per_worker: float) -> tuple[Account, ...]:
    """The devices of so many workers by type of device, an account for each type."""
    return tuple(
        Account(num_workers=count, devices_per_worker=devices_per_worker, device_type=kind)
        for kind, count in by_type.items()
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Seconds of one worker by purpose: ``startup`` and ``index`` of a process, the others of a trial from its start
    (of an answering: of its process)."""

    startup: float = 0.0
    index: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A task was handed out, and holds its devices once the session has them to spare; ``earlier``: what its trial was
    charged before."""

    at: float
    key: str
    account: Account
    earlier: Spent = Spent()


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A process says that it has the task, before it works: so the task holds its devices."""

    at: float
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Up:
    """A process began to work on a task, and goes on from ``spent``; None: from where its trial was charged to. If it
    is not the first one, that has died."""

    at: float
    key: str
    account: Account
    spent: Spent | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """A process says what it has ``spent`` by now."""

    at: float
    key: str
    spent: Spent


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint of the task turns out to hold ``spent``: that much is not lost with its process."""

    key: str
    spent: Spent


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """The task's process is gone, with all that it did since its last report or checkpoint."""

    at: float
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drained:
    """The task was given back right after a checkpoint, since its machine leaves: nothing is lost."""

    at: float
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The task ended and let go of its devices."""

    at: float
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The session holds these ``devices`` from now on, an account for each type."""

    at: float
    devices: tuple[Account, ...]


Entry = Started | Begun | Up | Reported | Saved | Lost | Drained | Ended | Held
