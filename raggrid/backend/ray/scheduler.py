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

from raggrid.records import CurveRecord, Report, Status
from raggrid.searches import PhaseSearch
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.study.rounds import HalvingGroup
from raggrid.study.tasks import PhaseTask, Task, from_config, from_metrics


class PhaseScheduler(FIFOScheduler):
    """Passes each result to its search's own ASHA; trials that belong to no search run to their end.

    Rungs are counted in training steps, never in Tune's iteration counter, which restarts at one when a trial's process
    is replaced. ``processes``: how many of the trials' processes are kept alive while they are idle; may be set anew.
    """

    def __init__(self, space: SearchSpace, searches: Mapping[str, PhaseSearch], *, processes: int = 0) -> None:
        super().__init__()
        self.processes = processes
        self.kept, self.keeps = 0, True
        self.kept_for: Any = None
        self.space, self.searches = space, searches
        self.searching = space.seeds if space.seeds_for == "grid" else space.seeds[:1]
        self.halvings: dict[HalvingGroup, ASHAScheduler | None] = {}
        self.closes: Callable[[], bool] = lambda: False
        self.stop_reasons: dict[str, Status] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle: Tune keeps a copy for a restore of its own, which raggrid does not use."""
        return {}

    def halving(self, group: HalvingGroup) -> ASHAScheduler | None:
        """Ray's ASHA for the trials of a group; None if nothing is stopped early."""
        if group not in self.halvings:
            search = self.searches.get(group.search) if group.seed in self.searching else None
            self.halvings[group] = _halving(self.space, search) if search else None
        return self.halvings[group]

    def _of(self, task: Task) -> ASHAScheduler | None:
        if not isinstance(task, PhaseTask):
            return None
        return self.halving(HalvingGroup(task.search, task.run.seed, task.run.upstream_trial_id))

    def begin(self, task: Task) -> None:
        """Let the halving of a task that starts know it."""
        if halving := self._of(task):
            halving.on_trial_add(None, _named(task.key))

    def judge(self, task: Task, report: Report) -> Status | None:
        """Why a task is to stop after this report; None where it continues, or has ended by itself."""
        if report.status != Status.RUNNING:
            return None
        if not report.is_news:
            return Status.OVER_BUDGET if self.closes() else None
        if (halving := self._of(task)) and _stops(halving, task.key, report.step, report.objective):
            return Status.STOPPED
        return Status.OVER_BUDGET if self.closes() else None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's name for `begin`."""
        if self.processes or self.kept:
            self._keep_idle_processes(tune_controller, trial)
        self.begin(from_config(trial.config).task)

    def _keep_idle_processes(self, tune_controller: Any, trial: Trial) -> None:
        """Let Tune keep one process per slot between trials, whether or not the next trial is waiting already, and let
        as many trials wait.

        By default it keeps a single one, and every other trial after a pause starts by importing torch for ten seconds.
        Once a trial has to stay off a node no more are kept than by default: idle on that node, they would hold the
        devices that it waits for. This uses an internal of Ray 2.60 (the version is pinned); without it studies are
        slower, not wrong.
        """
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is None or not hasattr(cache, "increase_max"):
            return
        self.kept_for = self.kept_for or trial.placement_group_factory
        self.keeps = self.keeps and trial.placement_group_factory == self.kept_for
        more = (self.processes if self.keeps else 0) - self.kept
        cache.increase_max(self.kept_for, more)  # by less than nothing where there are fewer slots than before
        self.kept += more
        tune_controller.update_max_pending_trials()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's word for `judge`."""
        report = from_metrics(result)
        reason = self.judge(from_config(trial.config).task, report) if report else None
        if reason is None:
            return str(FIFOScheduler.CONTINUE)
        self.stop_reasons[trial.trial_id] = reason
        return str(FIFOScheduler.STOP)

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
            if row.trial_id not in known:
                halving.on_trial_add(None, _named(row.trial_id))
                known.add(row.trial_id)
            if _stops(halving, row.trial_id, row.step, row.objective):
                stopped.add(row.trial_id)
        return stopped


def _stops(halving: ASHAScheduler, trial_id: str, step: int, objective: float | None) -> bool:
    result = {"step": step, "objective": objective}
    return bool(halving.on_trial_result(None, _named(trial_id), result) == FIFOScheduler.STOP)


def _named(trial_id: str) -> SimpleNamespace:
    """A trial as a halving sees it, under raggrid's id: Tune gives it a new one whenever it restarts, and a rung that
    it has passed already would then judge it again."""
    return SimpleNamespace(trial_id=trial_id)


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
