"""What a task reported -> the row that is kept of it: the one place where each row is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from raggrid.costs import Costs
from raggrid.evaluation.metrics import columns_of
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.strategies import STRATEGIES
from raggrid.study.charges import Charged, stopped_trial
from raggrid.study.tasks import AnswerTask


def curve_row(trial_id: str, report: Report) -> CurveRecord | None:
    """A measurement of a phase run; None for a report that measured nothing."""
    if report.objective is None:
        return None
    devices = report.num_workers * report.devices_per_worker
    return CurveRecord(
        trial_id=trial_id, step=report.step, rung=report.rung, train_loss=report.train_loss, objective=report.objective,
        recall_at_k=report.recall_at_k, device_seconds=report.train_seconds * devices,
    )  # fmt: skip


def trial_row(trial_id: str, run: PhaseRun, report: Report, spent: Charged) -> TrialRecord:
    """A phase run that has ended as its last ``report`` says."""
    return TrialRecord(
        trial_id=trial_id, phase=run.phase, loss=run.loss, seed=run.seed, embedder_lr=run.embedder_lr,
        generator_lr=run.generator_lr, upstream_trial_id=run.upstream_trial_id, status=report.status,
        steps=report.step, max_steps=run.max_steps, objective=report.objective, train_device_seconds=spent.train,
        evaluate_device_seconds=spent.evaluate, lost_device_seconds=spent.lost, wall_seconds=spent.wall_seconds,
        num_workers=report.num_workers, device_type=report.device_type or "cpu", attempts=report.attempts,
        error=report.error,
    )  # fmt: skip


def stopped_row(
    run: PhaseRun, last: CurveRecord, own: Sequence[LedgerRecord], attempts: int, workers: int, device_type: str
) -> TrialRecord:
    """A phase run that goes no further than its ``last`` measurement; ``own``: all that it was charged."""
    report = Report(
        status=Status.STOPPED, step=last.step, objective=last.objective, attempts=attempts, device_type=device_type,
        num_workers=max((row.num_workers for row in own), default=workers),
    )  # fmt: skip
    return trial_row(last.trial_id, run, report, stopped_trial(last, own))


def pipeline_row(
    task: AnswerTask, report: Report, trials: Mapping[str, TrialRecord], costs: Costs, k: int
) -> PipelineRecord:
    """A pipeline of two of the ``trials``, or un-tuned models, that has answered a split from ``k`` passages per
    question."""
    sides = (task.embedder_trial_id, task.generator_trial_id)
    embedder, generator = (trials[name] if name else None for name in sides)
    return PipelineRecord(
        pipeline_id=task.pipeline_id, strategy=task.strategy, loss=task.loss, seed=task.seed, split=task.split,
        embedder_trial_id=task.embedder_trial_id, generator_trial_id=task.generator_trial_id,
        embedder_lr=embedder.embedder_lr if embedder else None,
        generator_lr=generator.generator_lr if generator else None,
        k=k, num_questions=report.num_questions, needs_labels=STRATEGIES[task.strategy].needs_labels,
        final_device_seconds=costs.final, search_device_seconds=costs.search, marginal_device_seconds=costs.marginal,
        **columns_of(report.scores),
    )  # fmt: skip


def renewed(rows: Iterable[PipelineRecord], costs_of: Callable[[PipelineRecord], Costs]) -> list[PipelineRecord]:
    """Those of ``rows`` whose costs have changed since, with today's."""
    changed = []
    for row in rows:
        costs = costs_of(row)
        new = replace(
            row, final_device_seconds=costs.final, search_device_seconds=costs.search,
            marginal_device_seconds=costs.marginal,
        )  # fmt: skip
        changed += [new] if new != row else []
    return changed
