"""Early stopping: every phase search has an asynchronous successive halving (ASHA) of its own, for each upstream model.

Losses of different phases do not compare, nor do losses over different generators, so one halving over all trials would
stop the wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from raggrid.records import CurveRecord
from raggrid.searches import PhaseSearch
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.study.rounds import HalvingGroup


class PhaseScheduler(FIFOScheduler):
    """Hands each result to its search's own ASHA; trials that belong to no search run to their end.

    Rungs are counted in training steps, never in Tune's iteration counter, which starts again at one when a
    trial's process is replaced. ``processes``: how many of the trials' processes stay up while they have nothing to do.
    """

    def __init__(self, space: SearchSpace, searches: Mapping[str, PhaseSearch], *, processes: int = 0) -> None:
        super().__init__()
        self.processes = processes
        self.space, self.searches = space, searches
        self.searching = space.seeds if space.seeds_for == "grid" else space.seeds[:1]
        self.halvings: dict[HalvingGroup, ASHAScheduler | None] = {}
        self.closes: Callable[[], bool] = lambda: False
        self.stop_reasons: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle: Tune keeps a copy for a restore of its own, which raggrid does not use."""
        return {}

    def halving(self, group: HalvingGroup) -> ASHAScheduler | None:
        """Ray's ASHA for the trials of a group; None where nothing is stopped early."""
        if group not in self.halvings:
            search = self.searches.get(group.search) if group.seed in self.searching else None
            self.halvings[group] = _halving(self.space, search) if search else None
        return self.halvings[group]

    def _of(self, trial: Trial) -> ASHAScheduler | None:
        task = trial.config["task"]
        if task["kind"] != "phase":
            return None
        return self.halving(HalvingGroup(task["search"], task["run"]["seed"], task["run"]["upstream_trial_id"]))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Let the trial's halving know it."""
        if self.processes:
            _keep_idle_processes(tune_controller, trial, self.processes)
            self.processes = 0
        halving = self._of(trial)
        if halving:
            halving.on_trial_add(tune_controller, _named(trial.config["task"]["key"]))

    def replay(self, curves: Iterable[CurveRecord], groups: Mapping[str, HalvingGroup]) -> set[str]:
        """Fill the rungs with what an earlier session measured, in its order; later trials are judged by it too.

        Args:
            curves: the study's recorded evaluations.
            groups: of the trials, by trial id; trials without one are left out.

        Returns:
            Trials that the rungs stop; where an earlier session died before it could say so, that is still to be done.
        """
        stopped: set[str] = set()
        known: set[str] = set()
        for row in curves:
            halving = self.halving(groups[row.trial_id]) if row.trial_id in groups else None
            if halving is None:
                continue
            past = _named(row.trial_id)
            if row.trial_id not in known:
                halving.on_trial_add(None, past)
                known.add(row.trial_id)
            decision = halving.on_trial_result(None, past, {"step": row.step, "objective": row.objective})
            if decision == FIFOScheduler.STOP:
                stopped.add(row.trial_id)
        return stopped

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop, and why. A trial that has ended by itself is left alone."""
        if result.get("status") != "running":
            return str(FIFOScheduler.CONTINUE)
        halving, same = self._of(trial), _named(trial.config["task"]["key"])
        decision = halving.on_trial_result(tune_controller, same, result) if halving else FIFOScheduler.CONTINUE
        if decision == FIFOScheduler.STOP:
            self.stop_reasons[trial.trial_id] = "stopped"
        elif self.closes():
            self.stop_reasons[trial.trial_id] = "over_budget"
            decision = FIFOScheduler.STOP
        return str(decision)


def _named(trial_id: str) -> SimpleNamespace:
    """A trial as a halving sees it, under raggrid's name: Tune gives it a new one whenever it starts again, and a rung
    that it has passed already would judge it once more."""
    return SimpleNamespace(trial_id=trial_id)


def _keep_idle_processes(tune_controller: Any, trial: Trial, count: int) -> None:
    """Let Tune keep one process a slot between trials, whether or not a next trial is waiting already.

    By itself it keeps a single one, and every other trial after a pause starts by importing torch for ten seconds.
    An inner part of Ray 2.60 (the version is pinned); without it studies are slower, not wrong.
    """
    cache = getattr(tune_controller, "_actor_cache", None)
    if cache is not None and hasattr(cache, "increase_max"):
        cache.increase_max(trial.placement_group_factory, count)


def _halving(space: SearchSpace, search: PhaseSearch) -> ASHAScheduler | None:
    """Ray's ASHA over a search's rungs; None where there is nothing to stop."""
    stopping = space.early_stopping
    levels = rungs(search.max_steps, stopping)
    if not stopping.enabled or stopping.rungs == "synchronous" or not levels or search.num_trials < 2:
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
