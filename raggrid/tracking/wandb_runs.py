"""Weights & Biases: one run per trial whose id is the trial's name, in a group of the study's name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import wandb

from raggrid.records import Status
from raggrid.store.local import LocalFiles
from raggrid.tracking.tracked_trials import ENDED, Point, TrackedTrial
from raggrid.tracking.trackers import Known

MARK = "raggrid_last_steps"  # in a run's summary: the last step of each name
BROKEN = (Status.FAILED, Status.DIVERGED)


class WandbRuns:
    """A `Tracker` of W&B runs. ``WANDB_MODE=offline`` keeps them in ``WANDB_DIR`` for a later ``wandb sync``."""

    def __init__(self, place: str) -> None:
        entity, _, project = place.rpartition("/")
        self.project, self.entity = project, entity or None
        self.folder = Path(os.environ.get("WANDB_DIR", "."))
        self.runs: dict[str, Any] = {}
        self.last: dict[str, dict[str, int]] = {}

    def known(self, trial: TrackedTrial) -> Known:
        """What the run on the server has, by the mark in its summary. Offline there is no looking back: what an earlier
        process kept of the trial is removed, and written anew."""
        if os.environ.get("WANDB_MODE") == "offline":
            files = LocalFiles(self.folder / "wandb")
            for name in files.names(""):
                if name.endswith(f"-{trial.name}"):
                    files.delete(name)
        run = self._opened(trial)
        last = dict(run.summary.get(MARK) or {})
        self.last[trial.name] = {name: int(step) for name, step in last.items()}
        return {
            (p.name, p.step) for p in trial.points if p.step <= self.last[trial.name].get(p.name, -1)
        }  # fmt: skip

    def write(self, trial: TrackedTrial, points: Sequence[Point]) -> None:
        """Add points, those of a step together; a trial that has ended is finished."""
        run, last = self._opened(trial), self.last[trial.name]
        for step, some in groupby(sorted(points, key=lambda point: point.step), key=lambda point: point.step):
            values = {point.name: point.value for point in some}
            run.log({"trainer_step": step, **values})
            last.update({name: max(step, last.get(name, -1)) for name in values})
        run.summary[MARK] = dict(last)
        run.summary["status"] = str(trial.status)
        if trial.status in ENDED:
            self.runs.pop(trial.name).finish(exit_code=int(trial.status in BROKEN))

    def close(self) -> None:
        """Finish what is open: trials that run go on in another process."""
        for run in self.runs.values():
            run.finish()

    def _opened(self, trial: TrackedTrial) -> Any:
        if trial.name not in self.runs:
            run = wandb.init(
                project=self.project, entity=self.entity, id=trial.name, name=trial.trial_id, group=trial.folder,
                job_type=str(trial.settings["phase"]), config=dict(trial.settings), resume="allow",
                reinit="create_new", dir=str(self.folder), save_code=False,
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
            )  # fmt: skip
            run.define_metric("*", step_metric="trainer_step")
            self.runs[trial.name] = run
        return self.runs[trial.name]
