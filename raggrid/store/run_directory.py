"""The storage of a real study: every record whole in its run directory, on whatever file system that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

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
from raggrid.store.compaction import SMALL_FILES, merge_all, merge_small
from raggrid.store.files import Location, files_at
from raggrid.store.progress import saved_progress
from raggrid.store.run_layout import CHECKPOINTS, PARTS_WRITTEN, SPACE, VECTORS, checkpoint, state_folder
from raggrid.store.storage import Charged, MemoryStorage, R
from raggrid.store.tables import TABLES, append, read_after

GIGABYTE = 10**9
# What others are concluded from is written before them.
ORDER: tuple[type, ...] = (
    QuestionRecord, LedgerRecord, FaultRecord, StepRecord, CurveRecord, PredictionRecord, PipelineRecord, TrialRecord,
)  # fmt: skip


class RunDirectory:
    """A `Storage` over `Files`.

    With ``delay_seconds`` it is that of the one process that writes facts: each table is read once, and what is
    appended later is known without reading it back. Without, others may write: each file is read once, since all of
    them at every look would grow with the study.
    """

    def __init__(self, run: Location, *, delay_seconds: float = 0.0) -> None:
        self.files = files_at(run)
        self.delay_seconds = delay_seconds
        self._known = MemoryStorage()
        self._seen: dict[type, list[str]] = {}
        self._batch: dict[type, list[Any]] = {}
        self._dropped: dict[str, None] = {}
        self._small_files: dict[type, int] = {}

    def __str__(self) -> str:
        return str(self.files)

    @property
    def address(self) -> str:
        """What workers find it by."""
        return self.files.address

    def is_begun(self) -> bool:
        """Whether a study has written its identity here."""
        return self.files.exists(SPACE)

    def is_indexed(self) -> bool:
        """Whether the corpus is embedded."""
        return self.files.exists(VECTORS) or self.files.exists(PARTS_WRITTEN)

    # Facts

    def append(self, rows: Sequence[R]) -> None:
        if not rows:
            return
        record = type(rows[0])
        if not self.delay_seconds:
            append(self.files, rows)
            return
        self._batch.setdefault(record, []).extend(rows)
        if record in self._seen:
            self._known.append(rows)

    def read(self, record: type[R]) -> list[R]:
        self._catch_up(record)
        return self._known.read(record)

    def of_trials(self, record: type[Charged], trial_ids: Collection[str]) -> Mapping[str, list[Charged]]:
        self._catch_up(record)
        return self._known.of_trials(record, trial_ids)

    def _catch_up(self, record: type[R]) -> None:
        seen = self._seen.get(record, [])
        if record in self._seen and self.delay_seconds:
            return
        new: list[R]
        found: tuple[list[str], list[R]] = read_after(self.files, record, seen)
        parts, new = found
        if parts[: len(seen)] != seen:  # merged meanwhile: read anew
            self._known.forget(record)
        self._known.append([*new, *self._batch.get(record, [])])
        self._seen[record] = parts

    def flush(self) -> None:
        for record in [record for record in ORDER if self._batch.get(record)]:
            append(self.files, self._batch[record])
            del self._batch[record]
            self._small_files[record] = self._small_files.get(record, 0) + 1
        for name in list(self._dropped):
            self.files.delete(name)
            del self._dropped[name]
        for record in [record for record, count in self._small_files.items() if count >= SMALL_FILES]:
            merge_small(self.files, record)
            del self._small_files[record]

    def compact(self) -> None:
        """Leave few files: at the end of a session."""
        self.flush()
        records = TABLES.keys() - {QuestionRecord}  # written once: its file marks the study for trackers
        with ThreadPoolExecutor(len(records)) as pool:  # an object store takes its time for each request
            list(pool.map(partial(merge_all, self.files), records))
        self._small_files.clear()

    # Checkpoints

    def checkpoints(self) -> list[str]:
        return [name for name in self.files.names(CHECKPOINTS) if checkpoint(name) not in self._dropped]

    def gigabytes(self) -> float:
        self.flush()
        return self.files.size(CHECKPOINTS) / GIGABYTE

    def saved(self, trial_id: str) -> TrainingProgress | None:
        return saved_progress(self.files, trial_id)

    def drop_state(self, trial_id: str) -> None:
        self._drop(state_folder(trial_id))

    def drop_checkpoint(self, trial_id: str) -> None:
        self._drop(checkpoint(trial_id))

    def _drop(self, name: str) -> None:
        self._dropped[name] = None
        if not self.delay_seconds:
            self.flush()
