"""The phase graph as a Tune searcher: hands out tasks as soon as what they depend on is finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.search import Searcher

from raggrid.records import Status
from raggrid.study.controller import Controller
from raggrid.study.tasks import Dispatch, from_metrics, to_config


class StudySearcher(Searcher):
    """Tune asks it for the next trial and reports results to it; the `Controller` decides and keeps the state."""

    def __init__(
        self, controller: Controller, run_dir: str, stop_reasons: Mapping[str, Status], lease: str = ""
    ) -> None:
        super().__init__()  # no metric: not every task has an objective
        self.controller, self.run_dir, self.lease = controller, run_dir, lease
        self.stop_reasons = stop_reasons
        self.keys: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle: Tune keeps a copy for a restore of its own, which raggrid does not use."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next task as a trial's config; None while all remaining tasks wait for running ones."""
        task = self.controller.take()
        if task is None:
            return Searcher.FINISHED if self.controller.is_done() else None
        self.keys[trial_id] = task.key
        given = Dispatch(task=task, run_dir=self.run_dir, lease=self.lease, workers=self.controller.workers)
        return {**to_config(given), "avoided": sorted(self.controller.faults.avoided(task.key))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A report of a running trial."""
        if trial_id in self.keys and (report := from_metrics(result)):
            self.controller.reported(self.keys[trial_id], report)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial's end: by itself, by early stopping, or (``error``) by the death of its process.

        Tune does not start it anew: the controller gives its task to another trial.
        """
        # A stopped trial's last report comes here alone, never through on_trial_result.
        self.on_trial_result(trial_id, result or {})
        # A dead process ends its trial twice, the second time perhaps when another trial has its task already.
        if (key := self.keys.pop(trial_id, None)) is not None:
            self.controller.finished(key, crashed=error, stop_reason=self.stop_reasons.get(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the run directory is the truth, and a study continues from that."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
