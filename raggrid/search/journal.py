"""What happens to tasks -> the study's state and its records, and whoever watches. Knows no Ray."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from raggrid.costs import pipeline_costs
from raggrid.records import LedgerRecord, PipelineRecord, TrialRecord
from raggrid.search.state import StudyState
from raggrid.search.tasks import AnswerTask, PhaseTask, Task
from raggrid.store import append, checkpoint_folder, read
from raggrid.strategies import STRATEGIES

CRASHED = "The worker process died (killed, or out of memory). See Ray's logs; lower the batch or the passages."


class Watcher(Protocol):
    """Sees a study go on; a screen, or nothing."""

    def started(self, task: Task) -> None:
        """A task was handed out."""

    def reported(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """A task reported a measurement."""

    def finished(self, task: Task, status: str, metrics: Mapping[str, Any]) -> None:
        """A task ended; ``status`` as in the trials table."""


@dataclass
class Journal:
    """Keeps a study's state true and on disk."""

    state: StudyState
    run: Path
    workers: int
    watchers: Sequence[Watcher] = ()
    started_at: dict[str, float] = field(default_factory=dict)
    latest: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    device_type: str = "cpu"

    def take(self) -> Task | None:
        """The next task to start, now counted as running; None while there is none."""
        ready = self.state.ready()
        if not ready:
            return None
        task = ready[0]
        self.state.running[task.key] = task
        self.started_at[task.key] = time.time()
        for watcher in self.watchers:
            watcher.started(task)
        return task

    def reported(self, key: str, metrics: Mapping[str, Any]) -> None:
        """A report of a running task."""
        task = self.state.running.get(key)
        if task is None:
            return
        self.latest[key] = {**self.latest.get(key, {}), **metrics}
        self.device_type = metrics.get("device_type", self.device_type)
        for watcher in self.watchers:
            watcher.reported(task, metrics)

    def finished(self, key: str, *, crashed: bool = False) -> None:
        """A running task has ended: write its record, then let the state move on."""
        task = self.state.running.pop(key, None)
        if task is None:
            return
        metrics = self.latest.pop(key, {})
        status = "failed" if crashed else str(metrics.get("status", "failed"))
        status = "stopped" if status == "running" else status
        if isinstance(task, PhaseTask):
            self._keep_trial(task, status, metrics)
        elif isinstance(task, AnswerTask) and status == "completed":
            self._keep_pipeline(task, metrics)
        elif status == "completed":
            self.state.indexed = True
        if status == "failed" and not isinstance(task, PhaseTask):
            self.state.failed[key] = str(metrics.get("error") or CRASHED)
        for watcher in self.watchers:
            watcher.finished(task, status, metrics)

    def _keep_trial(self, task: PhaseTask, status: str, metrics: Mapping[str, Any]) -> None:
        workers = int(metrics.get("num_workers", max(1, self.workers)))
        wall = time.time() - self.started_at[task.key]
        train, evaluate = (metrics.get(name, 0.0) * workers for name in ("train_seconds", "evaluate_seconds"))
        attempts = int(metrics.get("attempts", 1))
        lost = max(0.0, wall * workers - train - evaluate) if attempts > 1 else 0.0
        error = (metrics.get("error") or CRASHED) if status == "failed" else None
        run = task.run
        row = TrialRecord(
            task.trial_id, run.phase, run.loss, run.seed, run.embedder_lr, run.generator_lr, run.upstream_trial_id,
            status, int(metrics.get("step", 0)), run.max_steps, metrics.get("objective"), train, evaluate, lost, wall,
            workers, str(metrics.get("device_type", self.device_type)), attempts, error,
        )  # fmt: skip
        append(self.run, [row])
        if lost:
            self._charge(task.trial_id, "lost", lost, workers, self.started_at[task.key])
        if status != "completed":
            shutil.rmtree(checkpoint_folder(self.run, task.trial_id), ignore_errors=True)
        self.state.trials[task.trial_id] = row

    def _keep_pipeline(self, task: AnswerTask, metrics: Mapping[str, Any]) -> None:
        state, plan = self.state, self.state.plan_of(task)
        sides = (task.embedder_trial_id, task.generator_trial_id)
        embedder, generator = (state.trials[name] if name else None for name in sides)
        costs = pipeline_costs(state.graph, plan, [name for name in sides if name], state.trials_by_search())
        row = PipelineRecord(
            task.pipeline_id, task.strategy, task.loss, state.space.seed, task.split, *sides,
            embedder.embedder_lr if embedder else None, generator.generator_lr if generator else None,
            metrics["exact_match"], metrics["f1"], metrics["recall_at_k"], state.space.answer_top_k,
            metrics["num_questions"], STRATEGIES[task.strategy].needs_labels,
            costs.final, costs.search, costs.marginal,
        )  # fmt: skip
        append(self.run, [row])
        state.answered[task.pipeline_id, task.split] = row

    def _charge(self, trial_id: str | None, category: str, seconds: float, workers: int, started_at: float) -> None:
        row = LedgerRecord(trial_id, None, category, seconds, seconds / workers, workers, self.device_type, started_at)
        append(self.run, [row])

    def charge_idle(self, started_at: float, num_devices: int) -> None:
        """Close the ledger: what ``num_devices`` held since ``started_at`` and nobody was charged for is idle."""
        charged = sum(row.device_seconds for row in read(self.run, LedgerRecord) if row.started_at >= started_at)
        idle = (time.time() - started_at) * num_devices - charged
        self._charge(None, "idle", max(0.0, idle), num_devices, started_at)
