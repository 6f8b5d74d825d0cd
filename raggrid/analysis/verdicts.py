"""Strategies with their verdicts, and the cheapest one that is not worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from raggrid.analysis.results import Results, StrategyResult
from raggrid.analysis.statistics import Verdict, compare, compare_aggregates
from raggrid.display_names import label
from raggrid.errors import InputError
from raggrid.strategies import STRATEGIES

CostBasis = Literal["search", "final", "marginal"]
Judged = tuple[StrategyResult, Verdict]
# A table that does not say how many questions its scores are averaged over is read as if there were this many: few for
# an evaluation that is worth reporting, so that too little is concluded rather than too much.
ASSUMED_QUESTIONS = 1_000


def judge(
    lines: Sequence[StrategyResult], metric: str, *, margin: float, confidence: float, resamples: int, seed: int
) -> tuple[list[Judged], int]:
    """Every strategy with its verdict, and the number of questions that the verdicts rest on (0: unknown)."""
    if lines[0].aggregates:
        size = min(line.num_questions for line in lines)
        verdicts = compare_aggregates(
            _means(lines, metric), size or ASSUMED_QUESTIONS, margin=margin, confidence=confidence
        )
    else:
        scores = score_cube(lines, metric)
        size = scores.shape[-1]
        verdicts = compare(scores, margin=margin, confidence=confidence, resamples=resamples, seed=seed)
    return list(zip(lines, verdicts, strict=True)), size


def _means(lines: Sequence[StrategyResult], metric: str) -> np.ndarray[Any, Any]:
    means = [line.mean(metric) for line in lines]
    if any(mean is None for mean in means):
        raise InputError(f"metric: got {metric}; the table lacks it for some strategy. Use another metric.")
    return np.array(means, dtype=np.float64)


def score_cube(lines: Sequence[StrategyResult], metric: str) -> np.ndarray[Any, Any]:
    """(S, seeds, Q) over the seeds and questions that all strategies share and that have the metric.

    A strategy that trains nothing gives the same answers under every seed, so it counts as having them all.

    Raises:
        InputError: no question has the metric.
    """
    tuned = [line for line in lines if STRATEGIES[line.strategy].phases]
    seeds = [seed for seed in (tuned or lines)[0].seeds if all(seed in line.seeds for line in tuned or lines)]
    columns = _shared_questions(lines)
    cube = np.stack([
        _by_seed(line, metric, seeds)[:, kept] if kept is not None else _by_seed(line, metric, seeds)
        for line, kept in zip(lines, columns, strict=True)
    ])  # fmt: skip
    missing = np.isnan(cube).any((0, 1))
    cube = cube[:, :, ~missing] if missing.any() else cube
    if not cube.shape[-1]:
        raise InputError(
            f"metric: got {metric}; no question has a value (recall needs context labels, and an older run lacks newer "
            "metrics). Use f1."
        )
    return cube


def _by_seed(line: StrategyResult, metric: str, seeds: Sequence[int]) -> np.ndarray[Any, Any]:
    if seeds and all(seed in line.seeds for seed in seeds):
        return line.by_seed[metric][[line.seeds.index(seed) for seed in seeds]]
    return np.repeat(line.scores[metric][None], max(1, len(seeds)), axis=0)


def _shared_questions(lines: Sequence[StrategyResult]) -> list[np.ndarray[Any, Any] | None]:
    """For each line the positions of the questions that all lines answered, in one order; None for all of its own."""
    first = lines[0].question_ids
    if all(line.question_ids == first for line in lines):
        return [None] * len(lines)
    shared = set(first).intersection(*(line.question_ids for line in lines))
    order = [name for name in first if name in shared]
    indices = [{name: index for index, name in enumerate(line.question_ids)} for line in lines]
    return [np.array([index_of[name] for name in order], dtype=np.intp) for index_of in indices]


def cost_of(line: StrategyResult, basis: CostBasis) -> float:
    """Device-seconds; nan if a table does not say."""
    return float(getattr(line.costs, basis))


def cost_basis(lines: Sequence[StrategyResult], wanted: CostBasis | None, *, known_learning_rates: bool) -> CostBasis:
    """The cost that decides: the wanted one; by default ``search``, or ``final`` if no search is needed or recorded.

    Raises:
        InputError: an imported table lacks the wanted cost.
    """
    basis: CostBasis = wanted or ("final" if known_learning_rates else "search")
    if not any(math.isnan(cost_of(line, basis)) for line in lines):
        return basis
    if wanted is None and not any(math.isnan(line.costs.final) for line in lines):
        return "final"
    raise InputError(f"cost: got {basis}; the imported table lacks it for some strategy. Use --cost final.")


def cheapest_not_worse(able: Sequence[Judged], basis: CostBasis) -> Judged | None:
    """The cheapest that is not worse; of two with equal cost, the better. If all are worse, the best of them."""
    candidates = [pair for pair in able if pair[1].grade != "worse"]
    if candidates:
        return min(candidates, key=lambda pair: (cost_of(pair[0], basis), -pair[1].difference))
    return max(able, key=lambda pair: pair[1].difference, default=None)


def device_price(results: Sequence[Results], given: float | None) -> float | None:
    """Dollars per device-hour: the given price, or that of the spaces if they agree."""
    known = {result.space.resources.dollars_per_device_hour for result in results}
    return given if given is not None else known.pop() if len(known) == 1 else None


def points(verdict: Verdict, metric: str) -> str:
    """The distance to the best in words."""
    return f"{abs(verdict.difference) * 100:.1f} points of {label(metric)}"
