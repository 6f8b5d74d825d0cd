"""Early stopping: each phase search has its own asynchronous successive halving (ASHA), for each upstream model.

Losses of different phases are not comparable, nor are losses over different generators, so one halving over all trials
would stop the wrong ones.
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
    """Passes each result to its search's own ASHA; trials that belong to no search run to their end.

    Rungs are counted in training steps, never in Tune's iteration counter, which restarts at one when a trial's process
    is replaced. ``processes``: how many of the trials' processes are kept alive while they are idle.
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
        """Ray's ASHA for the trials of a group; None if nothing is stopped early."""
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
        """Register the trial with its halving."""
        if self.processes:
            _keep_idle_processes(tune_controller, trial, self.processes)
            self.processes = 0
        halving = self._of(trial)
        if halving:
            halving.on_trial_add(tune_controller, _named(trial.config["task"]["key"]))

    def replay(self, curves: Iterable[CurveRecord], groups: Mapping[str, HalvingGroup]) -> set[str]:
        """Fill the rungs with what an earlier session measured, in its order, so that later trials compare with it.

        Args:
            curves: the study's recorded evaluations.
            groups: groups of the trials, by trial id; trials without one are left out.

        Returns:
            Trials that the rungs stop; those that an earlier session died before recording still have to be stopped.
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
    """A trial as a halving sees it, under raggrid's id: Tune gives it a new one whenever it restarts, and a rung that
    it has passed already would then judge it again."""
    return SimpleNamespace(trial_id=trial_id)


def _keep_idle_processes(tune_controller: Any, trial: Trial, count: int) -> None:
    """Let Tune keep one process per slot between trials, whether or not the next trial is waiting already.

    By default it keeps a single one, and every other trial after a pause starts by importing torch for ten seconds.
    This uses an internal of Ray 2.60 (the version is pinned); without it studies are slower, not wrong.
    """
    cache = getattr(tune_controller, "_actor_cache", None)
    if cache is not None and hasattr(cache, "increase_max"):
        cache.increase_max(trial.placement_group_factory, count)


def _halving(space: SearchSpace, search: PhaseSearch) -> ASHAScheduler | None:
    """Ray's ASHA over a search's rungs; None if there is nothing to stop."""
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
        # The loop ends by itself at its last step; a stop there would prevent the models from being saved.
        stop_last_trials=False,
    )
