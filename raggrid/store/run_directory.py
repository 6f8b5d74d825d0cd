"""The storage of a real study: every record whole in its run directory, on whatever file system that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from raggrid.records import TrainingProgress
from raggrid.store.files import Location, files_at
from raggrid.store.progress import saved_progress
from raggrid.store.run_layout import CHECKPOINTS, PARTS_WRITTEN, SPACE, VECTORS, checkpoint, state_folder
from raggrid.store.storage import Charged, MemoryStorage, R
from raggrid.store.tables import append, read_unseen

GIGABYTE = 10**9


class RunDirectory:
    """A `Storage` over `Files`. Trials add to its tables meanwhile; each file is read once, since all of them at every
    look would grow with the study."""

    def __init__(self, run: Location) -> None:
        self.files = files_at(run)
        self._known = MemoryStorage()
        self._seen: dict[type, set[str]] = {}

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

    def append(self, rows: Sequence[R]) -> None:
        append(self.files, rows)

    def read(self, record: type[R]) -> list[R]:
        self._catch_up(record)
        return self._known.read(record)

    def of_trials(self, record: type[Charged], trial_ids: Collection[str]) -> Mapping[str, list[Charged]]:
        self._catch_up(record)
        return self._known.of_trials(record, trial_ids)

    def _catch_up(self, record: type[R]) -> None:
        self._known.append(read_unseen(self.files, record, self._seen.setdefault(record, set())))

    def checkpoints(self) -> list[str]:
        return self.files.names(CHECKPOINTS)

    def gigabytes(self) -> float:
        return self.files.size(CHECKPOINTS) / GIGABYTE

    def saved(self, trial_id: str) -> TrainingProgress | None:
        return saved_progress(self.files, trial_id)

    def drop_state(self, trial_id: str) -> None:
        self.files.delete(state_folder(trial_id))

    def drop_checkpoint(self, trial_id: str) -> None:
        self.files.delete(checkpoint(trial_id))
