"""What Tune does beside its trials: it lets the driver do what is due, and keeps no rows of those that ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from raggrid.study.tasks import ROWS


class KeepUp(tune.Callback):
    """Calls each of ``keep_up`` again and again, several times a second."""

    def __init__(self, *keep_up: Callable[[], None]) -> None:
        self.keep_up = keep_up

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle: Tune keeps a copy for a restore of its own, which raggrid does not use."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune looks for news of its trials."""
        for each in self.keep_up:
            each()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial's last report was read: Tune keeps it until the study ends, which need not hold its rows."""
        trial.run_metadata.last_result.pop(ROWS, None)
