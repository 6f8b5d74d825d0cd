"""Early stopping: every phase search has an asynchronous successive halving (ASHA) of its own.

Losses of different phases do not compare, so one halving over all trials would stop the wrong ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from raggrid.records import CurveRecord
from raggrid.space import SearchSpace
from raggrid.strategies import PhaseSearch, rungs


class PhaseScheduler(FIFOScheduler):
    """Hands each result to its search's own ASHA; trials that belong to no search run to their end.

    Rungs are counted in training steps, never in Tune's iteration counter, which starts again at one when a
    trial's process is replaced.
    """

    def __init__(self, space: SearchSpace, searches: Mapping[str, PhaseSearch]) -> None:
        super().__init__()
        self.halvings = {name: halving for name, search in searches.items() if (halving := _halving(space, search))}

    def _of(self, trial: Trial) -> ASHAScheduler | None:
        return self.halvings.get(trial.config["task"].get("search", ""))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Let the trial's halving know it."""
        halving = self._of(trial)
        if halving:
            halving.on_trial_add(tune_controller, trial)

    def replay(self, curves: Iterable[CurveRecord], searches: Mapping[str, str]) -> None:
        """Fill the rungs with what an earlier session measured, in its order; later trials are judged by it too.

        Args:
            curves: the study's recorded evaluations.
            searches: the search of each trial, by trial id; trials without one are left out.
        """
        known: set[str] = set()
        for row in curves:
            halving = self.halvings.get(searches.get(row.trial_id, ""))
            if halving is None:
                continue
            past = SimpleNamespace(trial_id=row.trial_id)
            if row.trial_id not in known:
                halving.on_trial_add(None, past)
                known.add(row.trial_id)
            halving.on_trial_result(None, past, {"step": row.step, "objective": row.objective})

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop. A trial that has ended by itself is left alone."""
        halving = self._of(trial)
        if halving is None or result.get("status") != "running":
            return str(FIFOScheduler.CONTINUE)
        return str(halving.on_trial_result(tune_controller, trial, result))


def _halving(space: SearchSpace, search: PhaseSearch) -> ASHAScheduler | None:
    """Ray's ASHA over a search's rungs; None where there is nothing to stop."""
    stopping = space.early_stopping
    levels = rungs(search.max_steps, min_fraction=stopping.min_fraction, reduction_factor=stopping.reduction_factor)
    if not stopping.enabled or not levels or search.num_trials < 2:
        return None
    return ASHAScheduler(
        time_attr="step",
        metric="objective",
        mode="min",
        grace_period=levels[0],
        max_t=search.max_steps,
        reduction_factor=stopping.reduction_factor,
        # The loop ends itself at its last step; a stop there would cut off the saving of the models.
        stop_last_trials=False,
    )
