"""Trackio: one run per trial, named as the trial, in a project on this machine's disk."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from itertools import groupby

import trackio
from trackio.sqlite_storage import SQLiteStorage

from raggrid.tracking.tracked_trials import Point, TrackedTrial
from raggrid.tracking.trackers import Known


class TrackioRuns:
    """A `Tracker` of Trackio runs in its local store (``TRACKIO_DIR``), which ``trackio show`` serves."""

    def __init__(self, place: str) -> None:
        self.project = place

    def known(self, trial: TrackedTrial) -> Known:
        """What the store has of the trial's run."""
        rows = SQLiteStorage.get_logs(self.project, trial.name)
        return {(name, int(row["step"])) for row in rows for name in row}

    def write(self, trial: TrackedTrial, points: Sequence[Point]) -> None:
        """Add points, those of a step together."""
        with contextlib.redirect_stdout(io.StringIO()):  # it greets at every run
            run = trackio.init(
                self.project, trial.name, group=trial.folder, config=dict(trial.settings), resume="allow", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            for step, some in groupby(sorted(points, key=lambda point: point.step), key=lambda point: point.step):
                run.log({point.name: point.value for point in some}, step=step)
            trackio.finish()

    def close(self) -> None:
        """Nothing: every run is finished when it is written."""
