"""A study's records made by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raggrid.records import (
    Category,
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    Status,
    StepRecord,
    TrialRecord,
)
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space
from raggrid.store.files import Location
from raggrid.store.tables import append, create_run

Lines = Mapping[Any, tuple[Sequence[float], float]]
SPACE = {
    "name": "made",
    "data": {"folder": "d"},
    "models": {"embedder": "e", "generator": "g"},
    "learning_rates": {"embedder": [1e-6, 1e-5, 1e-4], "generator": [1e-4, 3e-4, 1e-3]},
}

STEP = StepRecord(
    trial_id="t1", step=8, loss=2.5, embedder_lr=None, generator_lr=1e-4, embedder_grad_norm=None,
    generator_grad_norm=3.0, tokens_per_second=1e4,
)  # fmt: skip


def made_space(**changes: object) -> SearchSpace:
    return parse_space({**SPACE, **changes})


def trial(name: str, phase: str = "generator_rag", loss: str = "rag_token", **changes: object) -> TrialRecord:
    """A completed trial that trained for 10 device-seconds and evaluated for 1."""
    row = TrialRecord(
        trial_id=name,
        phase=phase,
        loss=loss,
        seed=0,
        embedder_lr=None,
        generator_lr=3e-4,
        upstream_trial_id=None,
        status=Status.COMPLETED,
        steps=24,
        max_steps=24,
        objective=2.0,
        train_device_seconds=10.0,
        evaluate_device_seconds=1.0,
        lost_device_seconds=0.0,
        wall_seconds=12.0,
        num_workers=1,
        device_type="cpu",
        attempts=1,
        error=None,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def curve(trial_id: str, step: int, objective: float, seconds: float, **changes: object) -> CurveRecord:
    """A measurement after ``seconds`` device-seconds of training."""
    row = CurveRecord(
        trial_id=trial_id, step=step, rung=None, train_loss=None, objective=objective, recall_at_k=None,
        device_seconds=seconds,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def charge(category: str, seconds: float, trial_id: str | None = None, **changes: object) -> LedgerRecord:
    """``seconds`` of one CPU worker."""
    row = LedgerRecord(
        trial_id=trial_id, pipeline_id=None, category=Category(category), device_seconds=seconds, wall_seconds=seconds,
        num_workers=1, device_type="cpu", started_at=0.0,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def pipeline(strategy: str, loss: str | None, split: str, scores: Sequence[float], cost: float) -> PipelineRecord:
    """A pipeline whose three costs are ``cost``, twice and half of it."""
    mean = sum(scores) / len(scores)
    return PipelineRecord(
        pipeline_id=f"{strategy}-{loss}",
        strategy=strategy,
        loss=loss,
        seed=0,
        split=split,
        embedder_trial_id=None,
        generator_trial_id=None,
        embedder_lr=None,
        generator_lr=None,
        exact_match=mean,
        f1=mean,
        recall_at_k=1.0,
        rouge_l=mean,
        k=1,
        num_questions=len(scores),
        needs_labels=strategy in ("embedder", "independent"),
        final_device_seconds=cost / 2,
        search_device_seconds=cost,
        marginal_device_seconds=cost / 4,
    )


def predictions(row: PipelineRecord, scores: Sequence[float]) -> list[PredictionRecord]:
    return [
        PredictionRecord(
            pipeline_id=row.pipeline_id,
            strategy=row.strategy,
            loss=row.loss,
            seed=0,
            split=row.split,
            question_id=f"q{place:04d}",
            prediction="x",
            exact_match=score,
            f1=score,
            recall_at_k=1.0,
            rouge_l=score,
            retrieved_ids=("p1",),
        )
        for place, score in enumerate(scores)
    ]


ANSWERS = predictions(pipeline("generator", "rag_token", "test", [1.0], 1.0), [1.0, 0.0])


def made_run(run: Path, lines: Lines, *, splits: Sequence[str] = ("validation", "test"), unlabelled: int = 0) -> Path:
    """A run directory in which each (strategy, loss) answered with these scores at this cost."""
    record_run(run, lines, splits=splits, unlabelled=unlabelled)
    return run


def record_run(
    run: Location, lines: Lines, *, splits: Sequence[str] = ("validation", "test"), unlabelled: int = 0
) -> None:
    """The records of `made_run`, on any file system."""
    strategies = list(dict.fromkeys(strategy for strategy, _ in lines))
    environment = {"data": {"num_unlabelled": {"train": unlabelled}}}
    create_run(run, made_space(strategies=strategies), environment)
    append(run, [trial("t1")])
    for (strategy, loss), (scores, cost) in lines.items():
        for split in splits:
            row = pipeline(strategy, loss, split, scores, cost)
            append(run, [row])
            append(run, predictions(row, scores))
