"""What happens to tasks -> the study's state and its records, and whoever watches. Knows no Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.store.storage import Storage, is_full_disk
from raggrid.strategies import STRATEGIES
from raggrid.study.budget import BudgetClock
from raggrid.study.retention import apply_retention
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

CRASHED = "The worker process died (killed, or out of memory). See Ray's logs; lower the batch or the passages."


class Watcher(Protocol):
    """Sees a study go on; a screen, or nothing."""

    def started(self, task: Task) -> None:
        """A task was handed out."""

    def reported(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """A task reported a measurement."""

    def finished(self, task: Task, status: str, metrics: Mapping[str, Any]) -> None:
        """A task ended; ``status`` as in the trials table, or ``paused``."""


@dataclass
class Controller:
    """Keeps a study's state true and its records written.

    ``now``: seconds, by the clock on the wall unless said otherwise.
    ``broken``: why nothing can be written any more; the study then ends, and what was not written is not done.
    ``roomy``: whether the checkpoints have kept within ``checkpoints.max_gigabytes`` so far.
    """

    state: StudyState
    records: Storage
    workers: int
    watchers: Sequence[Watcher] = ()
    clock: BudgetClock | None = None
    started_at: dict[str, float] = field(default_factory=dict)
    released_at: dict[str, float] = field(default_factory=dict)
    latest: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    device_type: str = "cpu"
    broken: str | None = None
    roomy: bool = True
    crashed: set[str] = field(default_factory=set)
    now: Callable[[], float] = time.time

    def take(self) -> Task | None:
        """The next task to start, now counted as running; None while there is none."""
        self.check_budget()
        self._stop_rejected()
        task = None if self.broken else self.state.take()
        while task is None and self._stop_rejected():
            task = self.state.take()
        if task is None:
            return None
        self.started_at[task.key] = self.now()
        for watcher in self.watchers:
            watcher.started(task)
        return task

    def is_done(self) -> bool:
        """Nothing runs, and nothing is left that can start."""
        return self.state.is_done() if not self.broken else not self.state.running

    def closes(self) -> bool:
        """Whether running training is to end at its next evaluation."""
        self.check_budget()
        return self.broken is not None or self.state.closed != "nothing"

    def check_budget(self) -> None:
        """Start no more training, or nothing more, once the budget says so."""
        if self.clock and self.state.closed != "all":
            self.state.close(self.clock.closes(max(1, self.state.answers_left)))

    def reported(self, key: str, metrics: Mapping[str, Any]) -> None:
        """A report of a running task."""
        task = self.state.running.get(key)
        if task is None:
            return
        self.latest[key] = {**self.latest.get(key, {}), **metrics}
        self.device_type = metrics.get("device_type", self.device_type)
        if isinstance(task, PhaseTask) and metrics.get("objective") is not None:
            self.state.add_curve(CurveRecord(key, int(metrics["step"]), None, None, metrics["objective"], None, 0.0))
        for watcher in self.watchers:
            watcher.reported(task, metrics)

    def finished(self, key: str, *, crashed: bool = False, stop_reason: str | None = None) -> None:
        """A running task has ended: write its record, then let the state move on.

        Args:
            key: the task's.
            crashed: its process died, and was not to be started again.
            stop_reason: the status of a trial that was stopped from outside (``stopped``, ``over_budget``). One that
                ends while running for any other reason, an interrupt, gets no record: a later session continues it.
        """
        task = self.state.running.get(key)
        if task is None:
            return
        metrics = dict(self.latest.pop(key, {}))
        status = "failed" if crashed else str(metrics.get("status", "failed"))
        # With a full disk trials are stopped as by a budget, but nothing of theirs was used up.
        ended = None if self.broken and stop_reason == "over_budget" else stop_reason
        status = ended or "interrupted" if status == "running" else status
        if crashed and key not in self.crashed:
            # Once more: an idle process may have died before it was handed this task, which Tune does not try again.
            self.crashed.add(key)
            self.latest[key] = metrics
            status = "interrupted"
        self.released_at[key] = self.now()
        try:
            self._keep(task, status, metrics)
        except OSError as error:
            self._break(error)
        if status == "blocked":
            self.broken = str(metrics.get("error"))
        self.state.end(task)
        if status == "completed":
            self._apply_retention()
        for watcher in self.watchers:
            watcher.finished(task, status, metrics)

    def _apply_retention(self) -> None:
        kept = apply_retention(self.records, self.state.space.checkpoints, self.state.removable)
        self.roomy = kept and self.roomy

    def _keep(self, task: Task, status: str, metrics: Mapping[str, Any]) -> None:
        if status in ("interrupted", "blocked", "paused"):
            return
        if isinstance(task, PhaseTask):
            self._keep_trial(task, status, metrics)
        elif isinstance(task, AnswerTask) and status == "completed":
            self._keep_pipeline(task, metrics)
        elif status == "completed":
            self.state.indexed = True
        if status == "failed" and not isinstance(task, PhaseTask):
            self.state.failed[task.key] = str(metrics.get("error") or CRASHED)

    def _break(self, error: OSError) -> None:
        if not is_full_disk(error):
            raise error
        self.broken = str(error)

    def _keep_trial(self, task: PhaseTask, status: str, metrics: Mapping[str, Any]) -> None:
        workers = int(metrics.get("num_workers", max(1, self.workers)))
        wall = self.now() - self.started_at[task.key]
        train, evaluate = (metrics.get(name, 0.0) * workers for name in ("train_seconds", "evaluate_seconds"))
        attempts, lost = int(metrics.get("attempts", 1)), 0.0
        if status == "failed" and metrics.get("error") is None:
            attempts = max(attempts, self.records.attempts(task.trial_id))
            self._charge_crash(task, wall * workers, workers)
        if attempts > 1 or status == "failed" or self._in_segments():
            lost, wall = self._charged(task.trial_id, wall)
        error = (metrics.get("error") or CRASHED) if status == "failed" else None
        run = task.run
        row = TrialRecord(
            task.trial_id, run.phase, run.loss, run.seed, run.embedder_lr, run.generator_lr, run.upstream_trial_id,
            status, int(metrics.get("step", 0)), run.max_steps, metrics.get("objective"), train, evaluate, lost, wall,
            workers, str(metrics.get("device_type", self.device_type)), attempts, error,
        )  # fmt: skip
        self.keep_row(row)

    def _in_segments(self) -> bool:
        """Whether trials wait at rungs, so that one record sums up several tasks."""
        return self.state.space.early_stopping.rungs == "synchronous"

    def keep_row(self, row: TrialRecord) -> None:
        """Write a trial's record, then drop what only its going on would have needed."""
        self.records.append([row])
        self.state.add_trial(row)
        if row.status == "completed":
            self.records.drop_state(row.trial_id)
        elif row.status != "over_budget":
            self.records.drop_checkpoint(row.trial_id)

    def _charge_crash(self, task: PhaseTask, held: float, workers: int) -> None:
        """Charge as lost what a trial that died for good held since it was handed out and did not charge itself."""
        since = self.started_at[task.key]
        own = self.records.of_trials(LedgerRecord, [task.trial_id]).get(task.trial_id, [])
        seconds = held - sum(row.device_seconds for row in own if row.started_at >= since)
        if seconds > 0:
            self._charge(task.trial_id, "lost", seconds, workers, since)

    def _charged(self, trial_id: str, at_least: float) -> tuple[float, float]:
        """(lost device-seconds, wall seconds) of a trial over all its attempts and segments, from the ledger."""
        own = self.records.of_trials(LedgerRecord, [trial_id]).get(trial_id, [])
        lost = sum(row.device_seconds for row in own if row.category == "lost")
        return lost, max(at_least, sum(row.wall_seconds for row in own))

    def _stop_rejected(self) -> bool:
        """Write the records of trials that a synchronous rung decided against; whether there were any."""
        names = self.state.rejected()
        try:
            self.stop_at_checkpoint(*names)
        except OSError as error:
            self._break(error)
        return bool(names) and self.broken is None

    def stop_at_checkpoint(self, *trial_ids: str) -> None:
        """Record trials that wait at their checkpoint, or were cut off there, as stopped; from curves and ledger."""
        if not trial_ids:
            return
        curves = self.records.of_trials(CurveRecord, trial_ids)
        ledger = self.records.of_trials(LedgerRecord, trial_ids)
        for name in trial_ids:
            last = max(curves[name], key=lambda row: row.step)
            self.keep_row(self._stopped_row(last, ledger.get(name, [])))

    def _stopped_row(self, last: CurveRecord, own: Sequence[LedgerRecord]) -> TrialRecord:
        name, run = last.trial_id, self.state.phase_run(last.trial_id)
        spent = {name: sum(r.device_seconds for r in own if r.category == name) for name in ("evaluate", "lost")}
        workers = max((row.num_workers for row in own), default=max(1, self.workers))
        return TrialRecord(
            name, run.phase, run.loss, run.seed, run.embedder_lr, run.generator_lr, run.upstream_trial_id,
            "stopped", last.step, run.max_steps, last.objective, last.device_seconds, spent["evaluate"],
            spent["lost"], sum(row.wall_seconds for row in own), workers, self.device_type,
            self.records.attempts(name), None,
        )  # fmt: skip

    def _keep_pipeline(self, task: AnswerTask, metrics: Mapping[str, Any]) -> None:
        state = self.state
        if self.clock and task.same_generator is None:  # one that takes answers over says little about others
            self.clock.answer_seconds.append(self.now() - self.started_at[task.key])
        sides = (task.embedder_trial_id, task.generator_trial_id)
        embedder, generator = (state.trials[name] if name else None for name in sides)
        costs = state.costs_of(task)
        row = PipelineRecord(
            task.pipeline_id, task.strategy, task.loss, task.seed, task.split, *sides,
            embedder.embedder_lr if embedder else None, generator.generator_lr if generator else None,
            metrics["exact_match"], metrics["f1"], metrics["recall_at_k"], state.space.answer_top_k,
            metrics["num_questions"], STRATEGIES[task.strategy].needs_labels,
            costs.final, costs.search, costs.marginal,
        )  # fmt: skip
        self.records.append([row])
        state.add_answer(row)

    def renew_costs(self) -> None:
        """Write the costs of answered pipelines anew where trials that came later have changed them.

        A search that was extended costs more; a strategy that was added shares trials with those that were there.
        """
        changed = []
        for row in self.state.answered.values():
            costs = self.state.costs_of(row)
            new = replace(
                row, final_device_seconds=costs.final, search_device_seconds=costs.search,
                marginal_device_seconds=costs.marginal,
            )  # fmt: skip
            changed += [new] if new != row else []
        self.records.append(changed)
        for row in changed:
            self.state.add_answer(row)

    def _charge(self, trial_id: str | None, category: str, seconds: float, workers: int, started_at: float) -> None:
        row = LedgerRecord(trial_id, None, category, seconds, seconds / workers, workers, self.device_type, started_at)
        self.records.append([row])

    def charge_idle(self, started_at: float, num_devices: int) -> None:
        """Close the ledger: what ``num_devices`` held since ``started_at`` and nobody was charged for is idle."""
        rows = self.records.read(LedgerRecord)
        charged = sum(row.device_seconds for row in rows if row.started_at >= started_at)
        idle = (self.now() - started_at) * num_devices - charged
        self._charge(None, "idle", max(0.0, idle), num_devices, started_at)
