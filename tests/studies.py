"""A whole small study by hand: trials, curves of costs, pipelines by seed, so that every cost can be added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from raggrid.analysis.recommend import Recommendation
from raggrid.analysis.standings import LineStanding
from raggrid.records import PipelineRecord, PredictionRecord, TrialRecord
from raggrid.store.tables import append, create_run
from raggrid.strategies import STRATEGIES
from tests.records import made_space, pipeline, predictions, trial

TOKEN = "rag_token"
# Training seconds by trial; each costs one second more for its evaluation. The first of each search wins.
TRIALS: Mapping[str, tuple[str, str, float, str]] = {
    "e1": ("embedder_labels", "mnr", 5.0, "completed"),
    "e2": ("embedder_labels", "mnr", 5.0, "completed"),
    "g1": ("generator_rag", TOKEN, 20.0, "completed"),
    "g2": ("generator_rag", TOKEN, 20.0, "completed"),
    "g3": ("generator_rag", TOKEN, 8.0, "stopped"),
    "r1": ("embedder_rag", TOKEN, 30.0, "completed"),
    "r2": ("embedder_rag", TOKEN, 30.0, "diverged"),
    "j1": ("joint_rag", TOKEN, 45.0, "completed"),
}
# (embedder trial, generator trial, final, search, marginal) of each strategy's winner.
WINNERS: Mapping[tuple[str, str | None], tuple[str | None, str | None, float, float, float]] = {
    ("baseline", None): (None, None, 0.0, 0.0, 0.0),
    ("embedder", "mnr"): ("e1", None, 5.0, 12.0, 0.0),
    ("generator", TOKEN): (None, "g1", 20.0, 51.0, 0.0),
    ("independent", TOKEN): ("e1", "g1", 25.0, 63.0, 0.0),
    ("two_phase", TOKEN): ("r1", "g1", 50.0, 113.0, 0.0),
    ("joint", TOKEN): ("j1", "j1", 45.0, 159.0, 46.0),
}

# The same of controls: they cost what their generator costs.
CONTROLS: Mapping[tuple[str, str | None], tuple[str | None, str | None, float, float, float]] = {
    ("few_shot", None): (None, None, 0.0, 0.0, 0.0),
    ("gold_context", None): (None, None, 0.0, 0.0, 0.0),
    ("gold_context_generator", TOKEN): (None, "g1", 20.0, 51.0, 0.0),
    ("gold_context_joint", TOKEN): ("j1", "j1", 45.0, 159.0, 0.0),
}


def answers(share: float, size: int, seed: int = 0) -> list[float]:
    """Right on the first ``share`` of the questions but for a few that ``seed`` turns: strategies stay paired."""
    values = (np.arange(size) < share * size).astype(float)
    turned = np.random.default_rng(seed).choice(size, size // 50, replace=False)
    values[turned] = 1.0 - values[turned]
    return [float(value) for value in values]


def study(
    run: Path,
    scores: Mapping[tuple[str, str | None], Sequence[Sequence[float]]],
    *,
    environment: Mapping[str, Any] | None = None,
    retrieved: Mapping[str, Sequence[str]] | None = None,
    contains: bool = False,
    **space: Any,
) -> Path:
    """A run with `TRIALS`; ``scores``: by strategy and loss, for each seed, the scores by question on both splits.

    ``retrieved``: by strategy, the passages that its questions retrieve in turn; a different one each by default.
    """
    seeds = range(max(map(len, scores.values())))
    strategies = list(dict.fromkeys(name for name, _ in scores))
    changes = {"strategies": strategies, "losses": {"joint": [TOKEN]}, "seeds": list(seeds), **space}
    create_run(run, made_space(**changes), dict(environment or {"data": {"num_questions": {"train": 100}}}))
    append(run, made_trials())
    for key, by_seed in scores.items():
        for seed, values in enumerate(by_seed):
            for split in ("validation", "test"):
                row = pipeline_row(key, seed, split, values)
                append(run, [row])
                append(run, prediction_rows(row, values, (retrieved or {}).get(key[0]), contains))
    return run


def controlled_study(run: Path, size: int = 200, **space: Any) -> Path:
    """A study with all strategies and controls, whose answers hold the accepted one more often than they equal it."""
    shares = (0.2, 0.24, 0.6, 0.66, 0.64, 0.62, 0.35, 0.42, 0.8, 0.78)
    keys = [*WINNERS, *CONTROLS]
    scores = {key: [answers(share, size, place)] for place, (key, share) in enumerate(zip(keys, shares, strict=True))}
    return study(run, scores, contains=True, **space)


def made_trials() -> list[TrialRecord]:
    return [
        trial(
            name, phase, loss, train_device_seconds=seconds, status=status, embedder_lr=1e-5, generator_lr=3e-4,
            steps=max(1, round(seconds)), objective=float(place),
        )
        for place, (name, (phase, loss, seconds, status)) in enumerate(TRIALS.items())
    ]  # fmt: skip


def pipeline_row(key: tuple[str, str | None], seed: int, split: str, values: Sequence[float]) -> PipelineRecord:
    embedder, generator, final, search, marginal = {**WINNERS, **CONTROLS}[key]
    mean = float(np.mean(values))
    return replace(
        pipeline(*key, split, values, cost=0.0), pipeline_id=f"{key[0]}-{seed}", seed=seed, embedder_trial_id=embedder,
        generator_trial_id=generator, exact_match=mean, f1=mean, k=2, needs_labels=STRATEGIES[key[0]].needs_labels,
        final_device_seconds=final + seed, search_device_seconds=search, marginal_device_seconds=marginal,
    )  # fmt: skip


def prediction_rows(
    row: PipelineRecord, values: Sequence[float], passages: Sequence[str] | None, contains: bool
) -> list[PredictionRecord]:
    return [
        replace(
            made, question_id=f"q{place:05d}", seed=row.seed,
            retrieved_ids=(passages[place % len(passages)],) if passages else (f"p{place}",),
            contains_answer=min(1.0, made.f1 + 0.25) if contains else None,
        )
        for place, made in enumerate(predictions(row, values))
    ]  # fmt: skip


def finalist(key: tuple[str, str | None], embedder: str | None, generator: str | None, f1: float) -> PipelineRecord:
    """A validation row of a pipeline that was answered and did not win."""
    row = pipeline_row(key, 0, "validation", [f1])
    return replace(row, pipeline_id=f"{embedder}-{generator}", embedder_trial_id=embedder, generator_trial_id=generator)


LOSSES: Mapping[str, str | None] = dict(tuple(WINNERS))
Scores = Sequence[float]


def drawn(share: float, size: int, seed: int, easy: int = 99) -> list[float]:
    """Right on about ``share`` of the questions; easy questions are easy for all lines."""
    shared, own = (np.random.default_rng(one).standard_normal(size) for one in (easy, seed))
    latent = 0.8 * shared + 0.6 * own
    return [float(value) for value in latent <= np.quantile(latent, share)]


def run_of(folder: Path, scores: Mapping[str, Scores | Sequence[Scores]], **options: Any) -> Path:
    """A study with the costs of `WINNERS`; scores by strategy, or by strategy and seed."""
    lines = {
        (name, LOSSES[name]): [values] if isinstance(values[0], float) else values for name, values in scores.items()
    }
    return study(folder, lines, **options)  # type: ignore[arg-type]


def named(result: Recommendation) -> str | None:
    return result.recommended.strategy if result.recommended else None


def standing(result: Recommendation, strategy: str) -> LineStanding:
    return next(row for row in result.standings if row.strategy == strategy)
