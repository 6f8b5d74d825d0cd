"""A run directory -> one measured line per strategy: its winning pipelines, scores by question and seed, costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from raggrid.analysis.predictions import Predictions, read_answers
from raggrid.costs import Costs
from raggrid.errors import InputError, RecordError
from raggrid.evaluation.metrics import METRICS
from raggrid.graph import PlanKey, StudyGraph, selection_order, study_graph
from raggrid.records import PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files, Location, files_at
from raggrid.store.tables import read, read_environment, read_space
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class StrategyResult:
    """One strategy under one loss, as its winner did on the reported split.

    ``scores`` holds the metrics by question, averaged over seeds: (num_questions,) float arrays, nan where a question
    has no value. ``by_seed`` holds them by seed: (seeds, num_questions). Both are empty for a line of an imported
    table, which has ``aggregates`` instead. ``winner`` and ``validation`` are rows of the first seed; ``costs.final``
    is the mean of ``final_by_seed``. Costs are nan where a table does not say them.
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
        return {metric: self.mean(metric) for metric in METRICS}


@dataclass(frozen=True)
class Results:
    """What a study has found so far. ``measured``: the strategies to choose from; ``controls``: what they are read
    against. ``missing``: planned strategies without a measured pipeline; ``answers``: all rows of `pipelines`."""

    run: Files
    space: SearchSpace
    graph: StudyGraph
    environment: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    measured: tuple[StrategyResult, ...]
    missing: tuple[PlanKey, ...] = field(default=())
    answers: tuple[PipelineRecord, ...] = field(default=())
    controls: tuple[StrategyResult, ...] = field(default=())

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
    if environment.get("imported"):
        lines = tuple(_imported(row) for row in rows if row.split == split)
    else:
        winners = _winners(graph, rows, trials, space.selection.metric)
        lines = tuple(_strategy_results(winners, rows, read_answers(run, split), split))
    done = {line.key for line in lines}
    missing = tuple(plan.key for plan in graph.pipelines if plan.key not in done)
    controls = tuple(line for line in lines if STRATEGIES[line.strategy].is_control)
    measured = tuple(line for line in lines if not STRATEGIES[line.strategy].is_control)
    if not measured:
        raise RecordError(f"{run}: no strategy is answered on {split} yet. Let the search continue.")
    return Results(run, space, graph, environment, tuple(trials), measured, missing, tuple(rows), controls)


def _winners(
    graph: StudyGraph, rows: Sequence[PipelineRecord], trials: Sequence[TrialRecord], metric: str
) -> dict[PlanKey, list[PipelineRecord]]:
    """The validation rows of each planned strategy, one per seed, as the study itself picked them."""
    objectives = {trial.trial_id: trial.objective for trial in trials}
    found: dict[PlanKey, list[PipelineRecord]] = {}
    for plan in graph.pipelines:
        validated = [r for r in rows if (r.strategy, r.loss, r.split) == (*plan.key, "validation")]
        for seed in sorted({row.seed for row in validated}, key=[row.seed for row in validated].index):
            of_seed = [row for row in validated if row.seed == seed]
            best = min(of_seed, key=lambda row: selection_order(row, metric, _objective(graph, row, objectives)))
            found.setdefault(plan.key, []).append(best)
    return found


def _objective(graph: StudyGraph, row: PipelineRecord, objectives: dict[str, float | None]) -> float:
    last = objectives.get(graph.selected_trial(row) or row.embedder_trial_id or "")
    return float("inf") if last is None else last


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


def pooled(results: Sequence[Results]) -> tuple[StrategyResult, ...]:
    """One line per strategy over several studies: questions side by side, costs summed.

    Strategies that some study lacks are left out: their questions and costs would not be comparable.

    Raises:
        InputError: some runs are imported tables and some are not.
    """
    if len({result.imported is None for result in results}) > 1:
        raise InputError(
            "got imported tables and studies; expected one kind, since they cannot be pooled. Give them separately."
        )
    return _pooled([result.measured for result in results], _averaged if results[0].imported else _side_by_side)


def pooled_controls(results: Sequence[Results]) -> tuple[StrategyResult, ...]:
    """As `pooled` for the controls that all studies have; of imported tables none."""
    return () if any(result.imported for result in results) else _pooled([r.controls for r in results], _side_by_side)


def _pooled(
    studies: Sequence[Sequence[StrategyResult]], join: Callable[[Sequence[StrategyResult]], StrategyResult]
) -> tuple[StrategyResult, ...]:
    tables = [{line.key: line for line in lines} for lines in studies]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return tuple(join([table[key] for table in tables]) for key in shared)


def _averaged(lines: Sequence[StrategyResult]) -> StrategyResult:
    """For imported lines: means weighted by their questions (equally if some do not say), costs summed."""
    sizes = [line.num_questions for line in lines]
    weights = sizes if all(sizes) else [1] * len(lines)
    means = {}
    for name in lines[0].aggregates:
        values = [line.aggregates[name] for line in lines]
        known = [value for value in values if value is not None]
        means[name] = float(np.average(known, weights=weights)) if len(known) == len(values) else None
    costs = [line.costs for line in lines]
    total = Costs(*(sum(getattr(cost, basis) for cost in costs) for basis in ("final", "search", "marginal")))
    winner = replace(lines[0].winner, num_questions=sum(sizes) if all(sizes) else 0)
    return replace(lines[0], aggregates=means, costs=total, winner=winner, final_by_seed=(total.final,))


def _side_by_side(lines: Sequence[StrategyResult]) -> StrategyResult:
    return reduce(_joined, lines)


def _joined(one: StrategyResult, other: StrategyResult) -> StrategyResult:
    a, b = one.costs, other.costs
    seeds = min(len(one.seeds), len(other.seeds))
    return StrategyResult(
        one.strategy,
        one.loss,
        one.needs_labels or other.needs_labels,
        one.split if one.split == other.split else "validation",
        one.question_ids + other.question_ids,
        {name: np.concatenate([one.scores[name], other.scores[name]]) for name in one.scores},
        Costs(a.final + b.final, a.search + b.search, a.marginal + b.marginal),
        one.winner,
        one.validation,
        one.seeds[:seeds],
        {name: np.concatenate([one.by_seed[name][:seeds], other.by_seed[name][:seeds]], 1) for name in one.by_seed},
        tuple(x + y for x, y in zip(one.final_by_seed, other.final_by_seed, strict=False)),
    )
