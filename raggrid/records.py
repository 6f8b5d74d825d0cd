"""What crosses a process or reaches disk: frozen, flat, no torch.

The field names of the record classes are the columns of the run directory's tables: public, so add,
never rename. All fractions lie in [0, 1], all durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

SPLITS = ("train", "validation", "test")
# What a `Report` says of a phase run by the step it stands at.
MEASURED = ["step", "rung", "train_loss", "objective", "recall_at_k", "train_seconds", "evaluate_seconds"]


class Status(StrEnum):
    """How a task stands. The trials table knows those from ``completed`` to ``over_budget``; the rest is not an end.

    ``begun``: a process has it. ``blocked``: there was no room to write. ``faulted``: a machine, its storage or its
    device failed it; it is tried again.
    """

    BEGUN = "begun"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    FAILED = "failed"
    OVER_BUDGET = "over_budget"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"
    FAULTED = "faulted"


class Category(StrEnum):
    """What a slice of device time went to."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    INDEX = "index"
    STARTUP = "startup"
    LOST = "lost"
    IDLE = "idle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a task says of itself: when a phase run begins to work, at its evaluations, and at the end of every task.

    ``train_seconds`` and ``evaluate_seconds`` are of one worker, from the trial's start; ``startup_seconds``,
    ``index_seconds`` and ``up_seconds``, since when it works, of this process (None: it does not say). ``scores``: an
    answering's means by metric, fractions in [0, 1]. ``rows``: what was logged or answered since the last report.
    ``process`` names the process, ``serial`` counts its reports: one that comes twice counts once. ``device_type`` and
    ``node``, a machine's id, are None if not known. ``error``: why a task failed or is blocked.
    """

    status: Status
    step: int = 0
    rung: int | None = None
    train_loss: float | None = None
    objective: float | None = None
    recall_at_k: float | None = None
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    attempts: int = 1
    scores: Mapping[str, float | None] = field(default_factory=dict)
    num_questions: int = 0
    num_workers: int = 1
    devices_per_worker: float = 1.0
    device_type: str | None = None
    error: str | None = None
    node: str | None = None
    startup_seconds: float = 0.0
    index_seconds: float = 0.0
    up_seconds: float | None = None
    process: str = ""
    serial: int = 0
    rows: tuple[StepRecord | PredictionRecord, ...] = ()

    @property
    def is_news(self) -> bool:
        """Whether it measured something or ended; others only say that a process works."""
        return self.status != Status.RUNNING or self.objective is not None

    def after(self, last: Report | None) -> Report:
        """This report; where it measures nothing (an error, a new process), with what the ``last`` one measured."""
        if last is None or (self.is_news and (self.error is None or self.step)):
            return self
        known = {name: getattr(last, name) for name in MEASURED}
        known |= {"attempts": max(self.attempts, last.attempts), "device_type": self.device_type or last.device_type}
        return replace(self, **known)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One logged training step, counted from 1. Not every step is logged: see `finetune.step_log`.

    ``loss``: of this step's batch, nats per question. The rates are those of this step, after the schedule; a norm is
    that of a model's whole gradient, before clipping. Both are None for a model that does not train.
    ``tokens_per_second``: what both models read in this step, padding aside, over all workers.
    """

    trial_id: str
    step: int
    loss: float
    embedder_lr: float | None
    generator_lr: float | None
    embedder_grad_norm: float | None
    generator_grad_norm: float | None
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProgress:
    """How far a phase run has come. Seconds are of one worker; ``attempts`` counts starts that a fault made needed.

    ``loss_sum`` and ``loss_steps`` count from the last evaluation. ``objective`` and ``recall_at_k`` were measured at
    ``step``; None between evaluations. ``paused``: the run waits here on purpose, so that its continuation does not
    count as another attempt. ``saved_at``: seconds since the epoch; what a worker did after it was lost with it.
    ``log``: the steps logged so far. ``curve``: all that was measured so far, so that a driver that was killed before
    it had written the last of it loses nothing.
    """

    step: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    attempts: int = 1
    loss_sum: float = 0.0
    loss_steps: int = 0
    objective: float | None = None
    recall_at_k: float | None = None
    paused: bool = False
    saved_at: float = 0.0
    log: tuple[StepRecord, ...] = ()
    curve: tuple[CurveRecord, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """One row of the corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question with every string that counts as right, and the ids of its gold passages (may be empty).

    Questions of one ``group`` say less than as many independent ones: they are resampled together.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    context_ids: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One phase run. ``objective``: the last validation loss."""

    trial_id: str
    phase: str
    loss: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    upstream_trial_id: str | None
    status: Status
    steps: int
    max_steps: int
    objective: float | None
    train_device_seconds: float
    evaluate_device_seconds: float
    lost_device_seconds: float
    wall_seconds: float
    num_workers: int
    device_type: str
    attempts: int
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRecord:
    """One evaluation during training. ``device_seconds`` counts training only, from the trial's start."""

    trial_id: str
    step: int
    rung: int | None
    train_loss: float | None
    objective: float
    recall_at_k: float | None
    device_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRecord:
    """One evaluated pipeline on one split; a ``None`` trial id is the un-tuned model.

    Scores are means over questions; None where the study is older than the metric. ``custom_scores``: those of the
    user's own metrics, by name.
    """

    pipeline_id: str
    strategy: str
    loss: str | None
    seed: int
    split: str
    embedder_trial_id: str | None
    generator_trial_id: str | None
    embedder_lr: float | None
    generator_lr: float | None
    exact_match: float
    f1: float
    recall_at_k: float | None = None
    k: int
    num_questions: int
    needs_labels: bool
    final_device_seconds: float
    search_device_seconds: float
    marginal_device_seconds: float
    contains_answer: float | None = None
    rouge_l: float | None = None
    recall_at_1: float | None = None
    recall_at_2: float | None = None
    recall_at_5: float | None = None
    recall_at_10: float | None = None
    recall_at_20: float | None = None
    custom_scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRecord:
    """One answered question; ``recall_at_k`` is None for a question without context labels.

    ``custom_scores``: the scores in the user's own metrics, by name.
    """

    pipeline_id: str
    strategy: str
    loss: str | None
    seed: int
    split: str
    question_id: str
    prediction: str
    exact_match: float
    f1: float
    recall_at_k: float | None = None
    retrieved_ids: tuple[str, ...]
    contains_answer: float | None = None
    rouge_l: float | None = None
    recall_at_1: float | None = None
    recall_at_2: float | None = None
    recall_at_5: float | None = None
    recall_at_10: float | None = None
    recall_at_20: float | None = None
    custom_scores: Mapping[str, float | None] = field(default_factory=dict)


def score_of(row: PipelineRecord | PredictionRecord, metric: str) -> float | None:
    """The score in a built-in metric or one of the user's own; None where the row has none."""
    return row.custom_scores[metric] if metric in row.custom_scores else getattr(row, metric, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionRecord:
    """One question that pipelines answer, as it was asked: reports show it long after the data has moved.

    ``context_ids`` is None where the study is older than this column.
    """

    split: str
    question_id: str
    question: str
    answers: tuple[str, ...]
    context_ids: tuple[str, ...] | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRecord:
    """One slice of device time and who it is charged to; ``started_at`` is seconds since the epoch."""

    trial_id: str | None
    pipeline_id: str | None
    category: Category
    device_seconds: float
    wall_seconds: float
    num_workers: int
    device_type: str
    started_at: float
