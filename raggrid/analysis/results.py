"""A run directory -> one measured line per strategy: its winning pipelines, scores by question and seed, costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from raggrid.analysis.predictions import Predictions, read_answers
from raggrid.analysis.winners import candidates
from raggrid.costs import Costs
from raggrid.errors import InputError, RecordError
from raggrid.evaluation.metrics import METRICS
from raggrid.graph import PlanKey, StudyGraph, study_graph
from raggrid.records import PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files, Location, files_at
from raggrid.store.kept import read_compared_texts, read_micro_batches
from raggrid.store.tables import read, read_environment, read_measured_index, read_space
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class StrategyResult:
    """One strategy under one loss, as its winner did on the reported split.

    ``scores`` holds the metrics by question, averaged over seeds: (num_questions,) float arrays, nan where a question
    has no value. ``by_seed`` holds them by seed: (seeds, num_questions). Both are empty for a line of an imported
    table, which has ``aggregates`` instead. ``winner`` and ``validation`` are rows of the first seed; ``costs.final``
    is the mean of ``final_by_seed``, ``pipeline_ids`` are theirs. Costs are nan where a table does not say them.
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
    seeds: tuple[int, ...] = (0,)
    by_seed: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    final_by_seed: tuple[float, ...] = ()
    aggregates: dict[str, float | None] = field(default_factory=dict)
    pipeline_ids: tuple[str, ...] = ()

    @property
    def key(self) -> PlanKey:
        """Strategy and loss: what a line of every table stands for."""
        return PlanKey(self.strategy, self.loss)

    @property
    def num_questions(self) -> int:
        """Questions behind the scores; 0 where a table does not say."""
        return self.winner.num_questions if self.aggregates else len(self.question_ids)

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the questions that have it; None if none has."""
        if self.aggregates:
            return self.aggregates.get(metric)
        values = self.scores.get(metric, np.empty(0))
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else None

    def means(self) -> dict[str, float | None]:
        """`mean` of every metric."""
        return {metric: self.mean(metric) for metric in dict.fromkeys([*METRICS, *(self.aggregates or self.scores)])}


def metrics_of(lines: Sequence[StrategyResult]) -> list[str]:
    """The metrics that every line has a value in."""
    return [name for name in lines[0].means() if all(line.mean(name) is not None for line in lines)]


def metric_for(results: Sequence[Results], wanted: str | None) -> str:
    """The metric that strategies are compared in: the wanted one, that which picked every study's winners, or F1."""
    chosen = {result.space.selection.metric for result in results}
    return wanted or (chosen.pop() if len(chosen) == 1 else "f1")


@dataclass(frozen=True, kw_only=True)
class Finalists:
    """The pipelines that one was picked from under a seed: (F, questions) scores by metric, the winner first."""

    question_ids: tuple[str, ...]
    scores: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Results:
    """What a study has found so far. ``measured``: the strategies to choose from; ``controls``: what they are read
    against. ``missing``: planned strategies without a measured pipeline; ``answers``: all rows of `pipelines`.
    ``finalists``: by strategy and seed what its finalists scored, where the questions that picked
    the winner are those that are reported. ``device_weights``: what a second of a type of device
    counts, 1 if not given; trials and lines hold weighed seconds."""

    run: Files
    space: SearchSpace
    graph: StudyGraph
    environment: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    measured: tuple[StrategyResult, ...]
    missing: tuple[PlanKey, ...] = field(default=())
    answers: tuple[PipelineRecord, ...] = field(default=())
    finalists: Mapping[PlanKey, Mapping[int, Finalists]] = field(default_factory=dict)
    controls: tuple[StrategyResult, ...] = field(default=())
    device_weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def index(self) -> Mapping[str, Any] | None:
        """How the study's index compares with exact search; None where every search is exact."""
        return read_measured_index(self.run)

    @cached_property
    def micro_batches(self) -> Sequence[Mapping[str, Any]]:
        """How many questions per pass trials have found to fit their devices; empty where memory did not decide it."""
        return read_micro_batches(self.run)

    @cached_property
    def compared_texts(self) -> Sequence[Mapping[str, Any]]:
        """How the answers of the study's engine compare with the default one's; empty where that has answered."""
        return read_compared_texts(self.run)

    @cached_property
    def trials_by_search(self) -> Mapping[str, list[TrialRecord]]:
        """The recorded trials of each search, under all seeds."""
        found: dict[str, list[TrialRecord]] = {name: [] for name in self.graph.searches}
        for row in self.trials:
            found.setdefault(self.graph.search_of(row.phase, row.loss) or "", []).append(row)
        return found

    @property
    def split(self) -> str:
        """The split that is reported."""
        return self.measured[0].split

    @property
    def device_types(self) -> tuple[str, ...]:
        """Every type of device that a trial ran on."""
        imported = str((self.imported or {}).get("device_type") or "cpu")
        return tuple(sorted({trial.device_type for trial in self.trials})) or (imported,)

    @property
    def has_labels(self) -> bool:
        """Whether all training questions had context labels; True for an imported table, which does not say."""
        unlabelled = self.environment.get("data", {}).get("num_unlabelled", {})
        return bool(unlabelled.get("train", 0) == 0)

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """Where the table came from that ``raggrid import`` made this run from; None for a study of raggrid's own."""
        found: Mapping[str, Any] | None = self.environment.get("imported")
        return found


def load_all(run_dirs: Sequence[Location]) -> list[Results]:
    """Read several run directories.

    Raises:
        InputError: none was given, or one was given twice.
        RecordError: as `load_results`.
    """
    if not run_dirs:
        raise InputError("got no run directory; expected at least one. Give the --run of a raggrid search.")
    runs = [files_at(run) for run in run_dirs]
    twice = [run for index, run in enumerate(runs) if run.address in [other.address for other in runs[:index]]]
    if twice:
        raise InputError(f"{twice[0]}: given twice; expected each run directory once. Drop one.")
    return [load_results(run) for run in runs]


def load_results(run_dir: Location) -> Results:
    """Read a run directory, finished or not, or made by ``raggrid import``.

    Raises:
        RecordError: not a run directory, or one without a single answered pipeline.
    """
    run = files_at(run_dir)
    space, environment = read_space(run), read_environment(run)
    graph = study_graph(space)
    trials, rows = read(run, TrialRecord), read(run, PipelineRecord)
    if not rows:
        raise RecordError(
            f"{run}: no pipeline is answered yet. Let the search continue, or give another run directory."
        )
    split = "test" if any(row.split == "test" for row in rows) else "validation"
    finalists: dict[PlanKey, dict[int, Finalists]] = {}
    if environment.get("imported"):
        lines = tuple(_imported(row) for row in rows if row.split == split)
    else:
        found = candidates(graph, rows, trials, space.selection.metric)
        answers = read_answers(run, split, space.custom_metrics)
        winners = {key: [own[0] for own in by_seed.values()] for key, by_seed in found.items()}
        lines = tuple(_strategy_results(winners, rows, answers, split))
        if split == "validation":
            finalists = {key: dict(_finalists(by_seed, answers)) for key, by_seed in found.items()}
    done = {line.key for line in lines}
    missing = tuple(plan.key for plan in graph.pipelines if plan.key not in done)
    controls = tuple(line for line in lines if STRATEGIES[line.strategy].is_control)
    measured = tuple(line for line in lines if not STRATEGIES[line.strategy].is_control)
    if not measured:
        raise RecordError(f"{run}: no strategy is answered on {split} yet. Let the search continue.")
    return Results(run, space, graph, environment, tuple(trials), measured, missing, tuple(rows), finalists, controls)


def _finalists(
    by_seed: Mapping[int, Sequence[PipelineRecord]], answers: Predictions
) -> Iterator[tuple[int, Finalists]]:
    """Of each seed with a choice, those that were answered."""
    for seed, rows in by_seed.items():
        places = [answers.rows[row.pipeline_id, seed] for row in rows if (row.pipeline_id, seed) in answers.rows]
        if len(places) > 1 and (rows[0].pipeline_id, seed) in answers.rows:
            kept = np.flatnonzero(answers.answered[places].all(0))
            names = tuple(answers.question_ids[place] for place in kept)
            yield (
                seed,
                Finalists(
                    question_ids=names,
                    scores={name: values[places][:, kept] for name, values in answers.scores.items()},
                ),
            )


def _strategy_results(
    winners: dict[PlanKey, list[PipelineRecord]], rows: Sequence[PipelineRecord], answers: Predictions, split: str
) -> Iterator[StrategyResult]:
    reported = {(row.pipeline_id, row.seed): row for row in rows if row.split == split}
    for validated in winners.values():
        found = [
            (reported[key], row, answers.rows[key])
            for row in validated
            if (key := (row.pipeline_id, row.seed)) in reported and key in answers.rows
        ]
        if found:
            rows_reported, rows_validated, indices = zip(*found, strict=True)
            yield _measured(rows_reported, rows_validated[0], answers, list(indices))


def _measured(
    rows: Sequence[PipelineRecord], validation: PipelineRecord, answers: Predictions, indices: list[int]
) -> StrategyResult:
    first, answered = rows[0], np.all(answers.answered[indices], axis=0)
    whole = bool(answered.all())
    by_seed = {
        name: values[indices] if whole else values[indices][:, answered] for name, values in answers.scores.items()
    }
    names = answers.question_ids
    final = tuple(row.final_device_seconds for row in rows)
    return StrategyResult(
        strategy=first.strategy,
        loss=first.loss,
        needs_labels=first.needs_labels,
        split=first.split,
        question_ids=names if whole else tuple(n for n, kept in zip(names, answered.tolist(), strict=True) if kept),
        scores={name: values[0] if len(indices) == 1 else values.mean(0) for name, values in by_seed.items()},
        costs=Costs(sum(final) / len(final), first.search_device_seconds, first.marginal_device_seconds),
        winner=first,
        validation=validation,
        seeds=tuple(row.seed for row in rows),
        by_seed=by_seed,
        final_by_seed=final,
        pipeline_ids=tuple(row.pipeline_id for row in rows),
    )


def _imported(row: PipelineRecord) -> StrategyResult:
    nothing = {name: np.empty(0) for name in METRICS}
    means = {name: None if (value := getattr(row, name)) is None or np.isnan(value) else float(value)
             for name in METRICS}  # fmt: skip
    return StrategyResult(
        row.strategy, row.loss, row.needs_labels, row.split, (), nothing,
        Costs(row.final_device_seconds, row.search_device_seconds, row.marginal_device_seconds), row, None,
        (row.seed,), nothing, (row.final_device_seconds,), means,
    )  # fmt: skip
