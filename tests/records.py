"""A study's records made by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raggrid.records import PipelineRecord, PredictionRecord, TrialRecord
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


def made_space(**changes: object) -> SearchSpace:
    return parse_space({**SPACE, **changes})


def trial(name: str, phase: str = "generator_rag", loss: str = "rag_token", **changes: object) -> TrialRecord:
    """A completed trial that trained for 10 device-seconds and evaluated for 1."""
    row = TrialRecord(
        name, phase, loss, 0, None, 3e-4, None, "completed", 24, 24, 2.0, 10.0, 1.0, 0.0, 12.0, 1, "cpu", 1, None
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def pipeline(strategy: str, loss: str | None, split: str, scores: Sequence[float], cost: float) -> PipelineRecord:
    """A pipeline whose three costs are ``cost``, twice and half of it."""
    mean = sum(scores) / len(scores)
    return PipelineRecord(
        f"{strategy}-{loss}", strategy, loss, 0, split, None, None, None, None, mean, mean, 1.0, 1, len(scores),
        strategy in ("embedder", "independent"), cost / 2, cost, cost / 4,
    )  # fmt: skip


def predictions(row: PipelineRecord, scores: Sequence[float]) -> list[PredictionRecord]:
    return [
        PredictionRecord(
            row.pipeline_id, row.strategy, row.loss, 0, row.split, f"q{run:04d}", "x", score, score, 1.0, ("p1",)
        )
        for run, score in enumerate(scores)
    ]


def made_run(run: Path, lines: Lines, *, splits: Sequence[str] = ("validation", "test"), unlabelled: int = 0) -> Path:
    """A run directory in which each (strategy, loss) answered with these scores at this cost."""
    record_run(run, lines, splits=splits, unlabelled=unlabelled)
    return run


def record_run(
    run: Location, lines: Lines, *, splits: Sequence[str] = ("validation", "test"), unlabelled: int = 0
) -> None:
    """The records of `made_run`, in any run."""
    strategies = list(dict.fromkeys(strategy for strategy, _ in lines))
    environment = {"data": {"num_unlabelled": {"train": unlabelled}}}
    create_run(run, made_space(strategies=strategies), environment)
    append(run, [trial("t1")])
    for (strategy, loss), (scores, cost) in lines.items():
        for split in splits:
            row = pipeline(strategy, loss, split, scores, cost)
            append(run, [row])
            append(run, predictions(row, scores))
