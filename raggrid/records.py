"""What crosses a process or reaches disk: frozen, flat, no torch.

The field names of the record classes are the columns of the run directory's tables: public, so add,
never rename. All fractions lie in [0, 1], all durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

LEDGER_CATEGORIES = ("train", "evaluate", "index", "startup", "lost", "idle")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Passage:
    """One row of the corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """One question with every string that counts as right, and the ids of its gold passages (may be empty)."""

    id: str
    question: str
    answers: tuple[str, ...]
    context_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialRecord:
    """One phase run.

    ``status``: completed, stopped (early), diverged, failed or over_budget; ``objective``: the last validation loss.
    """

    trial_id: str
    phase: str
    loss: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    upstream_trial_id: str | None
    status: str
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


@dataclass(frozen=True)
class CurveRecord:
    """One evaluation during training. ``device_seconds`` counts training only, from the trial's start."""

    trial_id: str
    step: int
    rung: int | None
    train_loss: float | None
    objective: float
    recall_at_k: float | None
    device_seconds: float


@dataclass(frozen=True)
class PipelineRecord:
    """One evaluated pipeline on one split; a ``None`` trial id is the un-tuned model."""

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
    recall_at_k: float | None
    k: int
    num_questions: int
    needs_labels: bool
    final_device_seconds: float
    search_device_seconds: float
    marginal_device_seconds: float


@dataclass(frozen=True)
class PredictionRecord:
    """One answered question; ``recall_at_k`` is None for a question without context labels.

    ``contains_answer``: 1.0 where an accepted answer stands in the prediction, normalised, at word boundaries.
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
    recall_at_k: float | None
    retrieved_ids: tuple[str, ...]
    contains_answer: float | None = None


@dataclass(frozen=True)
class QuestionRecord:
    """One question that pipelines answer, as it was asked: reports show it long after the data has moved."""

    split: str
    question_id: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class LedgerRecord:
    """One slice of device time and who it is charged to; ``started_at`` is seconds since the epoch."""

    trial_id: str | None
    pipeline_id: str | None
    category: str
    device_seconds: float
    wall_seconds: float
    num_workers: int
    device_type: str
    started_at: float
