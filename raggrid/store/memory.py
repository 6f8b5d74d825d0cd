"""A simulation's storage: records in memory, no checkpoints, and a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from raggrid.records import CurveRecord, LedgerRecord
from raggrid.space.settings import Checkpoints
from raggrid.store.storage import Removable
from raggrid.store.tables import R


@dataclass
class VirtualClock:
    """Seconds since a simulated study began."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class MemoryStorage:
    """A `Storage` that touches no disk. Trials and answers are not stored here: the study's state keeps them."""

    curves: dict[str, list[CurveRecord]] = field(default_factory=dict)
    ledger: dict[str, list[LedgerRecord]] = field(default_factory=dict)

    def append(self, rows: Sequence[R]) -> None:
        for row in rows:
            if isinstance(row, CurveRecord):
                self.curves.setdefault(row.trial_id, []).append(row)
            elif isinstance(row, LedgerRecord):
                self.ledger.setdefault(row.trial_id or "", []).append(row)

    def curves_of(self, names: Collection[str]) -> Mapping[str, list[CurveRecord]]:
        return {name: self.curves[name] for name in names if name in self.curves}

    def ledger_of(self, names: Collection[str]) -> Mapping[str, list[LedgerRecord]]:
        return {name: self.ledger[name] for name in names if name in self.ledger}

    def ledger_since(self, started_at: float) -> list[LedgerRecord]:
        return [row for rows in self.ledger.values() for row in rows if row.started_at >= started_at]

    def drop_state(self, trial_id: str) -> None:
        pass

    def drop_checkpoint(self, trial_id: str) -> None:
        pass

    def apply_retention(self, wanted: Checkpoints, removable: Removable) -> bool:
        return True

    def attempts(self, trial_id: str) -> int:
        return 1
