"""Where a study's records and checkpoints lie, as the controller sees it: a run directory, or a simulation's memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from raggrid.records import CurveRecord, LedgerRecord
from raggrid.space.settings import Checkpoints
from raggrid.store.retention import apply_retention
from raggrid.store.tables import R, append, checkpoint_folder, latest, read, read_unseen, state_folder

Charged = TypeVar("Charged", CurveRecord, LedgerRecord)
Removable = Callable[[Iterable[str]], list[str]]
"""Those of some trials whose checkpoints nothing can need any more, the worst last."""


class Storage(Protocol):
    """Takes records and gives them back; looks after checkpoints."""

    def append(self, rows: Sequence[R]) -> None:
        """Keep ``rows``, all of one record class, before anybody acts on them."""

    def curves_of(self, names: Collection[str]) -> Mapping[str, list[CurveRecord]]:
        """The evaluations of some trials, by trial id; a trial without any is missing."""

    def ledger_of(self, names: Collection[str]) -> Mapping[str, list[LedgerRecord]]:
        """The time charged to some trials, by trial id; a trial without any is missing."""

    def ledger_since(self, started_at: float) -> list[LedgerRecord]:
        """Every slice of time that began at ``started_at`` (seconds, the study's clock) or later."""

    def drop_state(self, trial_id: str) -> None:
        """Forget what only a trial's going on would have needed."""

    def drop_checkpoint(self, trial_id: str) -> None:
        """Forget all that a trial left, its models too."""

    def apply_retention(self, wanted: Checkpoints, removable: Removable) -> bool:
        """Delete checkpoints that nothing needs, as far as ``wanted`` says; whether the rest keeps within its limit."""

    def attempts(self, trial_id: str) -> int:
        """Starts of a trial that waits at its checkpoint."""


@dataclass
class _Growing(Generic[Charged]):
    """A table of a run directory that trials add to meanwhile. Each file is read once: all of them at every look would
    grow with the study."""

    run: Path
    record: type[Charged]
    seen: set[str] = field(default_factory=set)
    rows: dict[str | None, list[Charged]] = field(default_factory=dict)

    def of(self, names: Iterable[str]) -> dict[str, list[Charged]]:
        """The facts of some trials by now, by trial id."""
        for row in read_unseen(self.run, self.record, self.seen):
            self.rows.setdefault(row.trial_id, []).append(row)
        return {name: latest(self.rows[name]) for name in names if name in self.rows}


@dataclass
class RunDirectory:
    """The storage of a real study: every record whole on disk."""

    run: Path

    def __post_init__(self) -> None:
        self._curves, self._ledger = _Growing(self.run, CurveRecord), _Growing(self.run, LedgerRecord)

    def append(self, rows: Sequence[R]) -> None:
        append(self.run, rows)

    def curves_of(self, names: Collection[str]) -> Mapping[str, list[CurveRecord]]:
        return self._curves.of(names)

    def ledger_of(self, names: Collection[str]) -> Mapping[str, list[LedgerRecord]]:
        return self._ledger.of(names)

    def ledger_since(self, started_at: float) -> list[LedgerRecord]:
        return [row for row in read(self.run, LedgerRecord) if row.started_at >= started_at]

    def drop_state(self, trial_id: str) -> None:
        shutil.rmtree(state_folder(self.run, trial_id), ignore_errors=True)

    def drop_checkpoint(self, trial_id: str) -> None:
        shutil.rmtree(checkpoint_folder(self.run, trial_id), ignore_errors=True)

    def apply_retention(self, wanted: Checkpoints, removable: Removable) -> bool:
        folder = self.run / "checkpoints"
        if not folder.is_dir():
            return True
        # Asked about what is there, not about all that ever was: that would grow with the study.
        return apply_retention(self.run, wanted, removable(path.name for path in folder.iterdir()))

    def attempts(self, trial_id: str) -> int:
        from raggrid.store.progress import saved_progress

        saved = saved_progress(state_folder(self.run, trial_id))
        return saved.attempts if saved else 1
