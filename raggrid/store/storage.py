"""What a study asks of its records, row by row and trial by trial, and the form of it that a simulation needs.

Pure: who decides touches no disk.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from raggrid.machine_faults import FaultRecord
from raggrid.records import (
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    QuestionRecord,
    StepRecord,
    TrainingProgress,
    TrialRecord,
)

R = TypeVar(
    "R", TrialRecord, CurveRecord, PipelineRecord, PredictionRecord, LedgerRecord, QuestionRecord, StepRecord,
    FaultRecord,
)  # fmt: skip
Charged = TypeVar("Charged", CurveRecord, LedgerRecord)

# What makes a row the same fact as an earlier one; a ledger slice is never written twice.
KEYS: Mapping[type, tuple[str, ...]] = {
    TrialRecord: ("trial_id",),
    CurveRecord: ("trial_id", "step"),
    StepRecord: ("trial_id", "step"),
    PipelineRecord: ("pipeline_id", "split"),
    PredictionRecord: ("pipeline_id", "split", "question_id"),
    LedgerRecord: (),
    QuestionRecord: ("split", "question_id"),
    FaultRecord: (),
}
# What a system says when there is no room left, as a code and in words.
FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}


class LeaseLost(OSError):
    """Another search holds the run directory by now: what was to be written is not."""


class Storage(Protocol):
    """Takes records and gives them back; looks after checkpoints."""

    @property
    def delay_seconds(self) -> float:
        """How long rows may wait to be written together with others; 0 where each is written at once."""

    def append(self, rows: Sequence[R]) -> None:
        """Keep ``rows``, all of one record class, and write them with the next `flush`, or at once. ``OSError`` where
        that fails: then none of them is kept."""

    def flush(self) -> None:
        """Write what was kept and then delete what was dropped, in this order: at any moment of a crash the records say
        so much, or what is left of a trial lets it be done again. After ``OSError`` all of it is still to be done."""

    def read(self, record: type[R]) -> list[R]:
        """The facts of a table: one record per key, the one written last, in order of first writing."""

    def of_trials(self, record: type[Charged], trial_ids: Collection[str]) -> Mapping[str, list[Charged]]:
        """The facts of some trials, by trial id; a trial without any is missing."""

    def checkpoints(self) -> list[str]:
        """The trials that have left anything: models, or a state."""

    def gigabytes(self) -> float:
        """What all checkpoints take, in units of 10^9 bytes."""

    def saved(self, trial_id: str) -> TrainingProgress | None:
        """How far a trial has come that has not ended, by the state that it left; None where there is none."""

    def drop_state(self, trial_id: str) -> None:
        """Forget what only a trial's going on would have needed."""

    def drop_checkpoint(self, trial_id: str) -> None:
        """Forget all that a trial left, its models too."""


@dataclass
class MemoryStorage:
    """A `Storage` of rows alone, in memory: its trials leave no checkpoints."""

    rows: dict[type, list[Any]] = field(default_factory=dict)
    by_trial: dict[tuple[type, str | None], list[Any]] = field(default_factory=dict)

    delay_seconds: float = math.inf

    def append(self, rows: Sequence[R]) -> None:
        for row in rows:
            self.rows.setdefault(type(row), []).append(row)
            if isinstance(row, (CurveRecord, LedgerRecord)):
                self.by_trial.setdefault((type(row), row.trial_id), []).append(row)

    def forget(self, record: type) -> None:
        """As if no row of a table had been appended."""
        self.rows.pop(record, None)
        self.by_trial = {key: rows for key, rows in self.by_trial.items() if key[0] is not record}

    def read(self, record: type[R]) -> list[R]:
        return latest(self.rows.get(record, []))

    def of_trials(self, record: type[Charged], trial_ids: Collection[str]) -> Mapping[str, list[Charged]]:
        found = {name: self.by_trial.get((record, name), []) for name in trial_ids}
        return {name: latest(rows) for name, rows in found.items() if rows}

    def flush(self) -> None:
        pass

    def checkpoints(self) -> list[str]:
        return []

    def gigabytes(self) -> float:
        return 0.0

    def saved(self, trial_id: str) -> TrainingProgress | None:
        return None

    def drop_state(self, trial_id: str) -> None:
        pass

    def drop_checkpoint(self, trial_id: str) -> None:
        pass


def latest(rows: Sequence[R]) -> list[R]:
    """One record per key, the last of ``rows``, in order of the key's first; all of them where there is no key."""
    keys = KEYS[type(rows[0])] if rows else ()
    return list({tuple(getattr(row, key) for key in keys): row for row in rows}.values()) if keys else list(rows)


def ends_study(error: BaseException) -> bool:
    """Whether an error means that nothing more can be written, whoever tries."""
    return isinstance(error, LeaseLost) or is_full_disk(error)


def why_it_ends(error: BaseException) -> str:
    """What a person should know of an error that `ends_study`."""
    return f"nothing more can be written ({error}). Free some space" if is_full_disk(error) else str(error)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error means that there is no room left: not the fault of what was to be written.

    Libraries that write by themselves, such as safetensors, have the system's words in errors of their own.
    """
    known = isinstance(error, OSError) and error.errno in FULL
    return known or any(words in str(error) for words in FULL.values())
