"""The training loop: one phase run from its first step to its last, or to its next stop. Knows no Ray.

Each worker takes its part of every batch; gradients are summed over workers, so that every worker takes the
same optimizer step on the same numbers. How is in data_parallel.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from raggrid.finetune.audit import (
    audit_frozen,
    audit_gradients,
    audit_labels,
    audit_loss,
    audit_score_gradient,
    fingerprint,
    unreached,
)
from raggrid.finetune.batches import batch_positions, shard
from raggrid.finetune.checkpoints import StateSaver, load_state, save_models
from raggrid.finetune.data_parallel import DataParallel, Pass
from raggrid.finetune.host_memory import trim_heap
from raggrid.finetune.labels import LabelledPair, labelled_pairs
from raggrid.finetune.micro_batch import fitted
from raggrid.finetune.objectives import labels_forward, questions_per_pass, rag_forward
from raggrid.finetune.optimizer import adamw, schedule, split_parameters
from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.step_log import StepTaken, is_logged
from raggrid.finetune.train_task import TrainTask, evaluation_steps
from raggrid.finetune.validation import validate
from raggrid.finetune.workers import Worker
from raggrid.records import Question, Report, Status, TrainingProgress
from raggrid.strategies import PHASES
from raggrid.study.rows import curve_row


class Trainer:
    """One phase run in memory: models, optimizer, schedule and how far it has come."""

    def __init__(self, task: TrainTask, worker: Worker) -> None:
        self.task, self.worker = task, worker
        self.phase = PHASES[task.run.phase]
        positives = task.space.training.labels.positives
        self.pairs = (
            labelled_pairs(task.train, task.positions, positives, task.negatives) if self.phase.needs_labels else []
        )
        self.trained, self.frozen = split_parameters(task.pipeline, self.phase)
        self.optimizer = adamw(self.trained, task.run, task.space.training)
        self.parallel = DataParallel(worker, task.pipeline.generator)
        self.progress = TrainingProgress()
        restored = load_state(task.files, task.trial_id, self.trained, self.optimizer, worker)
        self.follows_fault = False
        if restored:
            self.progress = replace(restored, paused=False)
            if not restored.paused:
                self.progress = replace(self.progress, attempts=restored.attempts + 1)
                self.follows_fault = True
        self.evaluated = evaluation_steps(task.run, task.space)
        self.saver = StateSaver(task.files, task.trial_id, worker)
        self.clock = SaveClock(task.space.training.checkpoint_minutes)
        self.problem: str | None = None
        self.leaves = self.save_due = False
        self.task = fitted(task, worker, self.trained, self.optimizer, self._pass_backward)

    def train(self) -> Status:
        """Train to the last step and return the status: completed, paused, stopped, diverged or interrupted."""
        try:
            return self._train()
        finally:
            self.saver.wait()  # nothing is written after the end, when what the trial left may be deleted

    def _train(self) -> Status:
        self.worker.wait()  # every worker has read the state that the first one now replaces
        self._save()  # this start counts, and what comes after it can be lost
        if self._owes_report():
            # Saved, but perhaps not told: the worker may have died in between.
            status = self._status()
            self._report(status)
            if status != Status.RUNNING or self.worker.should_stop():
                return status if status != Status.RUNNING else Status.STOPPED
        if self.task.measure_first and self.progress.step == 0:
            self.measure()
            self._report(Status.RUNNING)
        for step in self.evaluated:
            if step <= self.progress.step:
                continue
            self._train_until(step)
            if self.leaves and self.progress.step < step:
                return self._interrupt()
            if not self.problem:
                self.measure()
            status = self._status()
            self._keep(status)
            self._report(status)
            if status != Status.RUNNING:
                return status
            if self.worker.should_stop():
                return Status.STOPPED
        return Status.COMPLETED

    def _interrupt(self) -> Status:
        """Pause where the run stands, to continue on another machine."""
        self._keep(Status.PAUSED)
        self._report(Status.INTERRUPTED)
        return Status.INTERRUPTED

    def _owes_report(self) -> bool:
        return self.progress.objective is not None and (self.follows_fault or self.progress.step == self.task.pause_at)

    def _train_until(self, last: int) -> None:
        """Train up to step ``last``, or to a step whose loss or gradient is not finite, which is then the `problem`."""
        if self.progress.objective is not None:  # measured where it stands: the next mean loss starts here
            self.progress = replace(self.progress, loss_sum=0.0, loss_steps=0, objective=None, recall_at_k=None)
        for step in range(self.progress.step, last):
            started = time.perf_counter()
            taken = self.step(step)
            self._advance(taken, time.perf_counter() - started)
            self.problem = taken.problem
            if self.problem or self.leaves:
                return
            if self.save_due and step + 1 < last:
                self._save()

    def _advance(self, taken: StepTaken, seconds: float) -> None:
        """Count a step that took ``seconds``, and log it if it is one of those."""
        progress = self.progress
        logged = taken.problem or is_logged(taken.step, self.task.run.max_steps, self.evaluated)
        rows = (taken.row(self.task.trial_id, seconds),) if logged else ()
        self.progress = replace(
            progress,
            step=taken.step,
            train_seconds=progress.train_seconds + seconds,
            loss_sum=progress.loss_sum + taken.loss,
            loss_steps=progress.loss_steps + 1,
            log=(*progress.log, *rows),
        )
        for row in rows:
            self.worker.logged(row)

    def step(self, step: int) -> StepTaken:
        """One optimizer step on the global batch, counted from 0; nothing is updated if it has a `problem`."""
        rows = len(self.pairs) if self.phase.needs_labels else len(self.task.train)
        places = batch_positions(rows, self.task.batch_size, step, self.task.run.seed)
        audited, tokens = step == 0, self.task.pipeline.num_tokens_read
        before = fingerprint(self.frozen.values()) if audited else ""
        loss = self._backward(places, audited)
        missing = self.worker.gather(unreached(self.trained)) if audited else []
        self.parallel.sum_gradients(self.trained)
        due = self.worker.is_first and self.clock.is_due()
        counted = (self.task.pipeline.num_tokens_read - tokens, float(self.worker.leaving()), float(due))
        others = torch.tensor(counted, dtype=loss.dtype, device=loss.device)
        loss, read, leaves, saves = self.worker.sum(torch.cat([loss[None], others]))
        self.leaves, self.save_due = bool(leaves), bool(saves)
        if audited and bool(torch.isfinite(loss)):
            audit_gradients(self.trained, self.frozen, set.intersection(*missing))
        norms = self._clip(step)
        rates = {group["side"]: group["lr"] for group in self.optimizer.param_groups}
        taken = StepTaken(step + 1, float(loss), rates, norms, round(float(read)))
        if audited:
            trim_heap()  # the optimizer's moments come to lie where activations were, and not behind them
        if taken.problem is None:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if audited:
            audit_frozen(before, fingerprint(self.frozen.values()))
        return taken

    def _backward(self, places: Sequence[int], audited: bool) -> Tensor:
        """The loss of this worker's part of the batch at ``places``, over the size of the batch; leaves gradients."""
        if not self.phase.needs_labels:
            return self._rag_backward([self.task.train[place] for place in places], audited)
        mine = shard(list(range(len(places))), self.worker.rank, self.worker.world_size)
        pairs = [self.pairs[place] for place in places]
        return self._labels_backward(pairs, mine, audited) if mine else torch.zeros((), device=self.worker.device)

    def _labels_backward(self, batch: Sequence[LabelledPair], mine: Sequence[int], audited: bool) -> Tensor:
        pipeline, temperature = self.task.pipeline, self.task.space.retrieval.temperature
        forward = labels_forward(pipeline.embedder, pipeline.index, mine, batch, temperature=temperature)
        if audited:
            audit_labels(
                forward, pipeline.index, [batch[place] for place in mine], self.task.positions,
                temperature=temperature, cosine=pipeline.embedder.is_cosine,
            )  # fmt: skip
        loss = forward.nll / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _rag_backward(self, batch: Sequence[Question], audited: bool) -> Tensor:
        """The loss, summed over passes of a few questions each; so are their gradients."""
        size = self.parallel.largest_share(len(batch))
        if self.phase.trains_generator:
            size = questions_per_pass(self.task.pipeline, self.phase, self.task.space, size)
        parts = [self._pass_backward(each, len(batch), audited) for each in self.parallel.passes(batch, size)]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=self.worker.device)

    def _pass_backward(self, part: Pass, batch_size: int, audited: bool) -> Tensor:
        task, settings = self.task, self.task.space.training
        temperature = task.space.retrieval.temperature
        weight = settings.context_loss if self.phase.trains_generator else 0.0
        forward = rag_forward(
            task.pipeline,
            self.phase,
            task.run.loss,
            part.questions,
            k=task.space.retrieval.top_k,
            temperature=temperature,
            with_context=weight > 0,
            known=task.known,
        )
        if forward.retrieval_scores.requires_grad:
            forward.retrieval_scores.retain_grad()
        nll = part.weight * forward.nll.sum() / batch_size
        context = weight * forward.context_nll.sum() / batch_size if forward.context_nll is not None else 0.0
        (nll + part.weight * context).backward()
        if audited and part.weight:
            audit_loss(forward, task.run.loss, temperature)
            if forward.retrieval_scores.grad is not None:
                audit_score_gradient(forward, forward.retrieval_scores.grad, task.run.loss, temperature, batch_size)
        return nll.detach()

    def _clip(self, step: int) -> dict[str, float]:
        """Set the rates of a step and clip the gradients; returns each model's norm before that."""
        factor, norms = schedule(step, self.task.run.max_steps, self.task.space.training.warmup_fraction), {}
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
            # Each side is clipped on its own: the two models' gradients differ by orders of magnitude.
            norms[group["side"]] = self.parallel.clip(group["params"], self.task.space.training.max_grad_norm)
        return norms

    def measure(self) -> None:
        """Measure the objective where the run stands."""
        started, task = time.perf_counter(), self.task
        measured = validate(
            task.pipeline, self.phase, task.run.loss, task.validation, task.positions, task.space, self.worker,
            task.known,
        )  # fmt: skip
        seconds = self.progress.evaluate_seconds + time.perf_counter() - started
        self.progress = replace(
            self.progress,
            evaluate_seconds=seconds,
            objective=measured.objective,
            recall_at_k=measured.recall_at_k,
        )
        row = curve_row(task.trial_id, self._measured(Status.RUNNING))
        self.progress = replace(self.progress, curve=(*self.progress.curve, *([row] if row else [])))

    def _status(self) -> Status:
        """What the step that was reached means for the run."""
        progress = self.progress
        if not self.problem and not math.isfinite(progress.objective or 0.0):
            self.problem = f"diverged at step {progress.step}: got objective {progress.objective:g}; expected a number."
        if self.problem:
            return Status.DIVERGED
        if progress.step >= self.task.run.max_steps:
            return Status.COMPLETED
        return Status.PAUSED if progress.step == self.task.pause_at else Status.RUNNING

    def _keep(self, status: Status) -> None:
        """Put on disk what the next start needs. The last state stays until the run's record is written."""
        if status in (Status.RUNNING, Status.PAUSED):
            self.progress = replace(self.progress, paused=status == Status.PAUSED)
            self._save()
            self.saver.wait()  # who is told of a rung may end this process
        elif status == Status.COMPLETED:
            save_models(self.task.files, self.task.trial_id, self.phase, self.task.pipeline, self.worker)

    def _save(self) -> None:
        if self.worker.is_first or self.parallel.is_sharded:
            self.saver.save(self.trained, self.optimizer, self.progress)
            self.clock.restart()

    def begun(self) -> Report:
        """What the run has spent where this process begins: it has measured nothing yet."""
        progress = self.progress
        return Report(
            status=Status.RUNNING, step=progress.step, train_seconds=progress.train_seconds,
            evaluate_seconds=progress.evaluate_seconds, attempts=progress.attempts,
        )  # fmt: skip

    def _report(self, status: Status) -> None:
        self.worker.report(self._measured(status))

    def _measured(self, status: Status) -> Report:
        progress = self.progress
        levels = self.evaluated[:-1]
        return Report(
            status=status, step=progress.step, objective=progress.objective, recall_at_k=progress.recall_at_k,
            train_loss=progress.loss_sum / progress.loss_steps if progress.loss_steps else None,
            rung=levels.index(progress.step) if progress.step in levels else None,
            train_seconds=progress.train_seconds, evaluate_seconds=progress.evaluate_seconds,
            attempts=progress.attempts, num_workers=self.worker.world_size,
            devices_per_worker=self.task.space.resources.devices_per_worker, error=self.problem,
        )  # fmt: skip
