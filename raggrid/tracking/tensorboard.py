"""TensorBoard: one folder of event files per trial, ``DIR/STUDY/TRIAL``, which `tensorboard --logdir DIR` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from raggrid.store.local import LocalFiles
from raggrid.tracking.tracked_trials import ENDED, Point, TrackedTrial
from raggrid.tracking.trackers import Known


class TensorBoard:
    """A `Tracker` of event files. They cannot be searched, so a new process writes those of a trial anew, whole."""

    def __init__(self, place: str) -> None:
        self.root = Path(place).expanduser()
        self.writers: dict[str, Any] = {}

    def known(self, trial: TrackedTrial) -> Known:
        """Nothing: what an earlier process wrote of the trial is removed."""
        files = LocalFiles(self._folder(trial))
        for name in files.names(""):
            if name.startswith("events.out.tfevents."):
                files.delete(name)
        return set()

    def write(self, trial: TrackedTrial, points: Sequence[Point]) -> None:
        """Add points; with the first ones, the settings as a text."""
        writer = self.writers.get(trial.name)
        if writer is None:
            writer = self.writers[trial.name] = SummaryWriter(str(self._folder(trial)))
            rows = "".join(f"| {name} | {value} |\n" for name, value in trial.settings.items())
            writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0, walltime=trial.started_at)
        for point in points:
            writer.add_scalar(point.name, point.value, point.step, walltime=point.at)
        writer.flush()
        if trial.status in ENDED:  # thousands of trials would hold as many files open
            writer.close()

    def close(self) -> None:
        """Close what is open."""
        for writer in self.writers.values():
            writer.close()

    def _folder(self, trial: TrackedTrial) -> Path:
        return self.root / trial.folder / trial.trial_id
