"""Lines that the case allows -> their standings in one family of intervals, and the strategy to take next time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raggrid.analysis.costs.cost_choice import CostBasis, cost_of
from raggrid.analysis.inference.common_data import CommonScores, LineScores, common_scores
from raggrid.analysis.inference.decision import Decision, Grade, decide, grade
from raggrid.analysis.inference.evidence import Evidence, gather
from raggrid.analysis.inference.means_only import ASSUMED_QUESTIONS, draws_of_means, family_of_means
from raggrid.analysis.inference.simultaneous import Family, family
from raggrid.analysis.judging.question_links import Asked, clusters_of
from raggrid.analysis.results import StrategyResult, metrics_of
from raggrid.errors import InputError
from raggrid.strategies import STRATEGIES

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How lines are compared: the metric, what does not matter, how sure, and the questions of each study."""

    metric: str
    margin: float
    confidence: float
    resamples: int
    seed: int
    asked: Sequence[Asked]
    names: Sequence[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """S lines cut to the seeds and questions that all have, and what these say.

    ``draws`` (R, S): means over other questions and seeds, paired. ``common`` and ``evidence`` are None for a table of
    means. ``num_questions``: 0 where a table does not say.
    """

    lines: tuple[StrategyResult, ...]
    found: Family
    draws: Array
    means: Array
    decision: Decision
    grade: Grade
    costs: Array
    num_questions: int
    common: CommonScores | None
    evidence: Evidence | None
    clusters_known: bool


def judge(lines: Sequence[StrategyResult], basis: CostBasis, how: Asking) -> Judgement:
    """Compare lines among themselves and choose.

    Raises:
        InputError: no question has the metric.
    """
    costs = np.array([cost_of(line, basis) for line in lines])
    return _by_means(lines, costs, how) if lines[0].aggregates else _by_questions(lines, costs, how)


def _by_questions(lines: Sequence[StrategyResult], costs: Array, how: Asking) -> Judgement:
    common = scores_of(lines, how.metric)
    clusters = clusters_of(how.asked, how.names, common.question_ids)
    evidence = gather(
        common.cube, clusters, same=[identity_of(line) for line in lines],
        tuned=[bool(STRATEGIES[line.strategy].phases) for line in lines], resamples=how.resamples, seed=how.seed,
    )  # fmt: skip
    found = family(evidence, margin=how.margin, confidence=how.confidence)
    draws = evidence.draws(strategies=True)
    decision = decide(draws, costs, margin=how.margin, tied_draws=evidence.draws(strategies=True, ties=True))
    return Judgement(
        lines=tuple(cut(line, common) for line in lines), found=found, draws=draws, means=evidence.means,
        decision=decision, costs=costs, num_questions=len(common.question_ids), common=common, evidence=evidence,
        grade=grade(found, decision, strategies=True, informative=bool(common.cube.max() > 0.0)),
        clusters_known=clusters is not None,
    )  # fmt: skip


def _by_means(lines: Sequence[StrategyResult], costs: Array, how: Asking) -> Judgement:
    values = [line.mean(how.metric) for line in lines]
    if any(value is None for value in values):
        raise InputError(
            f"metric: got {how.metric}; the table lacks it for some strategy. Use {' or '.join(metrics_of(lines))}."
        )
    means, size = np.array(values, dtype=np.float64), min(line.num_questions for line in lines)
    found = family_of_means(means, size or ASSUMED_QUESTIONS, margin=how.margin, confidence=how.confidence)
    draws = draws_of_means(means, size or ASSUMED_QUESTIONS, resamples=how.resamples, seed=how.seed)
    decision = decide(draws, costs, margin=how.margin)
    return Judgement(
        lines=tuple(lines), found=found, draws=draws, means=means, decision=decision, costs=costs, num_questions=size,
        common=None, evidence=None, clusters_known=False,
        grade=grade(found, decision, strategies=True, informative=bool(means.max() > 0.0)),
    )  # fmt: skip


def scores_of(lines: Sequence[StrategyResult], metric: str) -> CommonScores:
    """The scores that all lines share.

    Raises:
        InputError: no question has the metric.
    """
    common = common_scores([
        LineScores(
            scores=line.by_seed[metric], seeds=line.seeds, question_ids=line.question_ids,
            tuned=bool(STRATEGIES[line.strategy].phases),
        )
        for line in lines
    ])  # fmt: skip
    if not common.question_ids:
        raise InputError(
            f"metric: got {metric}; no question has a value (recall needs context labels, and an older run lacks newer "
            f"metrics). Use one of {', '.join(metrics_of(lines))}."
        )
    return common


def identity_of(line: StrategyResult) -> tuple[str | None, ...]:
    """What a line's pipelines are made of, so that two names of one pipeline are told from a tie."""
    parts = line.winner.embedder_trial_id, line.winner.generator_trial_id
    return parts if any(parts) else tuple(line.key)


def cut(line: StrategyResult, common: CommonScores) -> StrategyResult:
    """The line over the seeds and questions that are compared, in all metrics, so that its means are the verdict's."""
    seeds = tuple(seed for seed in common.seeds if seed in line.seeds) or line.seeds[:1]
    if (seeds, common.question_ids) == (line.seeds, line.question_ids):
        return line
    places = {name: place for place, name in enumerate(line.question_ids)}
    columns = [places[name] for name in common.question_ids if name in places]
    rows = [line.seeds.index(seed) for seed in seeds]
    by_seed = {metric: values[rows][:, columns] for metric, values in line.by_seed.items()}
    scores = {metric: values[0] if len(rows) == 1 else values.mean(0) for metric, values in by_seed.items()}
    names = tuple(name for name in common.question_ids if name in places)
    ids = tuple(line.pipeline_ids[row] for row in rows)
    return replace(line, seeds=seeds, question_ids=names, by_seed=by_seed, scores=scores, pipeline_ids=ids)
