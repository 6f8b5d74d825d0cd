"""MLflow: one run per trial in the experiment of the study's name, found again by its tag ``raggrid.trial``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from raggrid.records import Status
from raggrid.tracking.tracked_trials import Point, TrackedTrial
from raggrid.tracking.trackers import Known

TAG, STATUS = "raggrid.trial", "raggrid.status"
MOST_METRICS = 1000  # per request, by MLflow's REST API
ENDS = {
    Status.COMPLETED: "FINISHED", Status.STOPPED: "FINISHED", Status.DIVERGED: "FAILED", Status.FAILED: "FAILED",
    Status.OVER_BUDGET: "KILLED", Status.INTERRUPTED: "KILLED",
}  # fmt: skip


class MlflowRuns:
    """A `Tracker` of MLflow runs: on a server, in a database (``sqlite:///mlflow.db``) or in a folder."""

    def __init__(self, place: str) -> None:
        self.client = MlflowClient(tracking_uri=place)
        self.runs: dict[str, str] = {}
        self.states: dict[str, str] = {}

    def known(self, trial: TrackedTrial) -> Known:
        """What the trial's run has; a run is made where there is none."""
        experiment = self._experiment(trial.study)
        found = self.client.search_runs([experiment], f"tags.`{TAG}` = '{trial.name}'", max_results=1)
        run = found[0] if found else self._created(experiment, trial)
        self.runs[trial.name] = run.info.run_id
        self.states[trial.name] = run.data.tags.get(STATUS, "")
        history = [row for name in run.data.metrics for row in self.client.get_metric_history(run.info.run_id, name)]
        return {(row.key, row.step) for row in history}

    def write(self, trial: TrackedTrial, points: Sequence[Point]) -> None:
        """Add points; then the status, where it has changed."""
        run = self.runs[trial.name]
        metrics = [Metric(point.name, point.value, round(1000 * point.at), point.step) for point in points]
        for start in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
        if self.states[trial.name] != trial.status:
            self.client.set_tag(run, STATUS, str(trial.status))
            if end := ENDS.get(trial.status):
                self.client.set_terminated(run, end, round(1000 * (trial.ended_at or trial.started_at)))
            else:
                self.client.update_run(run, "RUNNING")
            self.states[trial.name] = str(trial.status)

    def close(self) -> None:
        """Nothing: every request was answered."""

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name))

    def _created(self, experiment: str, trial: TrackedTrial) -> Any:
        tags = {TAG: trial.name, "raggrid.run": trial.folder}
        run = self.client.create_run(experiment, round(1000 * trial.started_at), tags, trial.trial_id)
        params = [Param(name, str(value)) for name, value in trial.settings.items()]
        self.client.log_batch(run.info.run_id, params=params)
        return run
