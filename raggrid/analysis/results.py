"""A run directory -> one measured line per strategy: its winning pipeline, scores by question, costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np

from raggrid.costs import Costs
from raggrid.errors import InputError, RecordError
from raggrid.records import PipelineRecord, PredictionRecord, TrialRecord
from raggrid.space import SearchSpace
from raggrid.store import read, read_environment, read_space
from raggrid.strategies import StudyGraph, selection_order, study_graph

Metric = Literal["f1", "exact_match", "recall_at_k"]
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Measured:
    """One strategy under one loss, as its winner did on the reported split.

    ``scores`` holds the metrics by question: (num_questions,) float arrays, nan where a question has no label.
    """

    strategy: str
    loss: str | None
    needs_labels: bool
    split: str
    question_ids: tuple[str, ...]
    scores: dict[str, np.ndarray[Any, Any]]
    costs: Costs
    winner: PipelineRecord
    validation: PipelineRecord | None

    @property
    def key(self) -> Key:
        """Strategy and loss: what a line of every table stands for."""
        return self.strategy, self.loss

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the questions that have it; None if none has."""
        values = self.scores[metric]
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else None


@dataclass(frozen=True)
class Results:
    """What a study found so far. ``missing`` are planned strategies without a measured pipeline."""

    run: Path
    space: SearchSpace
    graph: StudyGraph
    environment: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    measured: tuple[Measured, ...]
    missing: tuple[Key, ...] = field(default=())

    @property
    def split(self) -> str:
        """The split that is reported."""
        return self.measured[0].split

    @property
    def device_types(self) -> tuple[str, ...]:
        """Every type of device that a trial ran on."""
        return tuple(sorted({trial.device_type for trial in self.trials})) or ("cpu",)

    @property
    def has_labels(self) -> bool:
        """Whether all training questions had context labels."""
        unlabelled = self.environment.get("data", {}).get("num_unlabelled", {})
        return bool(unlabelled.get("train", 0) == 0)


def load_all(run_dirs: Sequence[Path]) -> list[Results]:
    """Read several run directories.

    Raises:
        InputError: none, or one of them twice.
        RecordError: as `load_results`.
    """
    if not run_dirs:
        raise InputError("got no run directory; expected at least one. Give the --run of a raggrid search.")
    runs = [Path(run) for run in run_dirs]
    twice = [run for place, run in enumerate(runs) if run.resolve() in [other.resolve() for other in runs[:place]]]
    if twice:
        raise InputError(f"{twice[0]}: given twice; expected each run directory once. Drop one.")
    return [load_results(run) for run in runs]


def load_results(run: Path) -> Results:
    """Read a run directory, finished or not.

    Raises:
        RecordError: no run directory, or one without a single answered pipeline.
    """
    space = read_space(run)
    graph = study_graph(space)
    trials = read(run, TrialRecord)
    rows = read(run, PipelineRecord)
    if not rows:
        raise RecordError(f"{run}: no pipeline was answered yet. Let the search go on, or give another run directory.")
    split = "test" if any(row.split == "test" for row in rows) else "validation"
    winners = _winners(graph, rows, trials, space.selection.metric)
    reported = {(row.pipeline_id): row for row in rows if row.split == split}
    predictions = _by_pipeline(row for row in read(run, PredictionRecord) if row.split == split)
    measured = tuple(
        _measured(reported[name], validation, predictions[name])
        for name, validation in winners
        if name in reported and name in predictions
    )
    done = {line.key for line in measured}
    missing = tuple(key for plan in graph.pipelines if (key := (plan.strategy, plan.loss)) not in done)
    if not measured:
        raise RecordError(f"{run}: no strategy was answered on {split} yet. Let the search go on.")
    return Results(run, space, graph, read_environment(run), tuple(trials), measured, missing)


def _winners(
    graph: StudyGraph, rows: Sequence[PipelineRecord], trials: Sequence[TrialRecord], metric: str
) -> list[tuple[str, PipelineRecord]]:
    """(pipeline id, its validation row) of each planned strategy, as the study itself picked them."""
    objectives = {trial.trial_id: trial.objective for trial in trials}
    found = []
    for plan in graph.pipelines:
        own = [r for r in rows if (r.strategy, r.loss, r.split) == (plan.strategy, plan.loss, "validation")]
        if own:
            best = min(own, key=lambda row: selection_order(row, metric, _objective(row, objectives)))
            found.append((best.pipeline_id, best))
    return found


def _objective(row: PipelineRecord, objectives: dict[str, float | None]) -> float:
    last = objectives.get(row.embedder_trial_id or row.generator_trial_id or "")
    return float("inf") if last is None else last


def _by_pipeline(rows: Iterable[PredictionRecord]) -> dict[str, list[PredictionRecord]]:
    grouped: dict[str, list[PredictionRecord]] = {}
    for row in rows:
        grouped.setdefault(row.pipeline_id, []).append(row)
    return {name: sorted(group, key=lambda row: row.question_id) for name, group in grouped.items()}


def _measured(row: PipelineRecord, validation: PipelineRecord, predictions: list[PredictionRecord]) -> Measured:
    columns = {
        name: np.array([getattr(p, name) for p in predictions], dtype=np.float64)
        for name in ("f1", "exact_match", "recall_at_k")
    }
    return Measured(
        strategy=row.strategy,
        loss=row.loss,
        needs_labels=row.needs_labels,
        split=row.split,
        question_ids=tuple(p.question_id for p in predictions),
        scores=columns,
        costs=Costs(row.final_device_seconds, row.search_device_seconds, row.marginal_device_seconds),
        winner=row,
        validation=validation,
    )


def pooled(results: Sequence[Results]) -> tuple[Measured, ...]:
    """One line per strategy over several studies: questions side by side, costs summed.

    Strategies that some study lacks are left out: their questions and costs would not compare.
    """
    tables = [{line.key: line for line in result.measured} for result in results]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return tuple(reduce(_joined, (table[key] for table in tables)) for key in shared)


def _joined(one: Measured, other: Measured) -> Measured:
    a, b = one.costs, other.costs
    return Measured(
        one.strategy,
        one.loss,
        one.needs_labels or other.needs_labels,
        one.split if one.split == other.split else "validation",
        one.question_ids + other.question_ids,
        {name: np.concatenate([one.scores[name], other.scores[name]]) for name in one.scores},
        Costs(a.final + b.final, a.search + b.search, a.marginal + b.marginal),
        one.winner,
        one.validation,
    )
