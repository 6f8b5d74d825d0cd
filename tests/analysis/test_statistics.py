"""The bootstrap against the plain one and scipy's, the verdicts' error rates on simulated studies of known truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raggrid.analysis.bootstrap import by_counts, by_limit, by_rows, resample, resampled_means
from raggrid.analysis.statistics import compare, compare_aggregates, interval

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


def three(size: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """(3, size) F1-like scores of three strategies that agree on easy questions."""
    rng = np.random.default_rng(seed)
    easy = rng.random(size)
    noisy = 0.6 * easy + 0.4 * rng.random((3, size))
    partial = rng.choice([0.0, 0.0, 0.4, 0.5, 0.8], (3, size))
    return np.where(noisy < np.array([0.5, 0.45, 0.4])[:, None], 1.0, partial)


def same_law(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], tolerance: float) -> None:
    """Two sets of draws have the same quantiles, in standard deviations, for every mean and every difference."""
    for weights in ((1, 0, 0), (0, 0, 1), (1, -1, 0), (0, 1, -1)):
        left, right = one @ weights, other @ weights
        gap = np.quantile(left, QUANTILES) - np.quantile(right, QUANTILES)
        assert np.abs(gap).max() < tolerance * left.std()


def test_distinct_rows_give_the_plain_bootstrap() -> None:
    scores = three(600)
    rows, counts = np.unique(scores.T, axis=0, return_counts=True)
    assert len(rows) < 200
    plain = by_counts(scores, 20_000, np.random.default_rng(1))
    same_law(plain, by_rows(rows, counts, 20_000, np.random.default_rng(2)), 0.12)


def test_the_limit_gives_the_plain_bootstrap_of_many_questions() -> None:
    scores = three(10_000)
    plain = by_counts(scores, 8_000, np.random.default_rng(1))
    same_law(plain, by_limit(scores, 8_000, np.random.default_rng(2)), 0.15)


def test_the_limit_is_taken_for_many_questions_with_many_distinct_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("raggrid.analysis.bootstrap.by_limit", lambda scores, *_: taken.append(scores.shape[1]))
    rng = np.random.default_rng(0)
    for scores in (rng.random((2, 9_000)), rng.integers(0, 2, (6, 50_000)).astype(float), rng.random((2, 10_001))):
        resample(scores, resamples=10, seed=0)
    assert taken == [10_001]


@pytest.mark.parametrize("size", [50, 700])
def test_means_and_intervals_are_scipys(size: int) -> None:
    """The mean of one strategy, and the paired difference of two, as `scipy.stats.bootstrap` has them."""
    scores = three(size)
    draws = resampled_means(scores, resamples=20_000, seed=0)
    for values, own in ((scores[0], draws[:, 0]), (scores[2] - scores[0], draws[:, 2] - draws[:, 0])):
        other = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
        spread = other.standard_error
        assert own.mean() == pytest.approx(other.bootstrap_distribution.mean(), abs=0.04 * spread)
        assert own.std(ddof=1) == pytest.approx(spread, rel=0.03)
        low, high = interval(own, 0.95)
        limits = other.confidence_interval
        assert (low, high) == pytest.approx((limits.low, limits.high), abs=0.12 * spread)


def test_verdicts_of_two_strategies_carry_scipys_interval() -> None:
    scores = three(500)[[0, 2]]
    worse = compare(scores, resamples=20_000)[1]
    limits = stats.bootstrap((scores[1] - scores[0],), np.mean, n_resamples=20_000, method="percentile", rng=1)
    expected = (limits.confidence_interval.low, limits.confidence_interval.high)
    assert (worse.alone_low, worse.alone_high) == pytest.approx(expected, abs=0.003)
    assert (worse.low, worse.high) == pytest.approx(expected, abs=0.003)


def test_intervals_of_several_hold_together_so_they_are_wider() -> None:
    scores = np.random.default_rng(0).random((5, 400))
    for verdict in compare(scores):
        if verdict.difference < 0:
            assert verdict.high - verdict.low > 1.2 * (verdict.alone_high - verdict.alone_low)


def test_hardly_any_question_that_differs_is_no_evidence_with_few_questions() -> None:
    """Fifty questions answered alike may hide that one strategy fails on 1 in 50; five thousand cannot."""
    few, many = (np.tile(np.arange(size) % 2, (2, 1)).astype(float) for size in (50, 5_000))
    assert {verdict.grade for verdict in compare(few)} == {"unresolved"}
    assert {verdict.grade for verdict in compare(many)} == {"as_good"}


def test_five_lost_of_five_that_differ_is_no_proof() -> None:
    """McNemar's exact p is 0.031, and six strategies are compared; a bootstrap that never drew the five says 0.007."""
    scores = np.ones((2, 1000))
    scores[1, :5] = 0.0
    assert compare(np.vstack([scores, np.ones((4, 1000))]), margin=0.0)[1].grade != "worse"


def test_one_seed_is_no_second_level() -> None:
    scores = three(300)
    flat, cube = (resampled_means(values, resamples=50, seed=3) for values in (scores, scores[:, None]))
    assert np.array_equal(flat, cube)


def test_seeds_that_differ_widen_and_seeds_that_do_not_leave_alone() -> None:
    scores = three(3_000)
    alike = np.repeat(scores[:, None], 3, axis=1)
    apart = alike + np.array([[0.0, 0.0, 0.0], [-0.05, 0.0, 0.05], [0.05, -0.05, 0.0]])[:, :, None]
    one, same, other = (compare(values, resamples=4_000)[2] for values in (scores, alike, apart))
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.06)
    assert other.high - other.low > 2 * (one.high - one.low)
    assert other.questions_needed is None


def test_seed_shifts_follow_students_t() -> None:
    """With questions that say nothing, the interval of a mean over three seeds is the textbook one."""
    shifts = np.array([0.4, 0.5, 0.63])
    scores = np.repeat(shifts[None, :, None], 500, axis=2)
    low, high = interval(resampled_means(scores, resamples=200_000, seed=0)[:, 0], 0.95)
    expected = stats.t.interval(0.95, 2, loc=shifts.mean(), scale=shifts.std(ddof=1) / np.sqrt(3))
    assert (low, high) == pytest.approx(expected, abs=0.01)


def test_means_alone_are_judged_by_what_they_cannot_exceed() -> None:
    """The bound is reached when all scores are 0 or 1 and the two strategies are right on different questions."""
    first, second = np.repeat([1.0, 0.0], [500, 500]), np.repeat([0.0, 1.0], [500, 500])
    verdict = compare_aggregates(np.array([0.5, 0.5]), 1_000)[1]
    error = (first - second).std() / np.sqrt(1_000)
    assert verdict.high == pytest.approx(stats.norm.ppf(0.975) * error)
    apart = compare_aggregates(np.array([0.2, 0.41, 0.40]), 1_000)
    assert [verdict.grade for verdict in apart] == ["worse", "unresolved", "unresolved"]


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("benchmark_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_statements_hold_as_often_as_they_say(coverage: ModuleType) -> None:
    """The short form of benchmarks/coverage.py: 150 studies of 2,000 questions, five equal strategies, one worse."""
    held = coverage.repeat(coverage.Truth(2_000), 150, resamples=2_000)
    # Binomial bounds that a right method breaks once in a hundred runs or less: 95% of 150 is 142.5.
    assert held.all_intervals >= 136 / 150
    assert held.own_interval >= 136 / 150
    assert held.worse_called_as_good <= 0.05
    assert held.equal_called_worse <= 14 / 150
    assert held.plain_intervals < 0.85, "looking at one pair alone forgets that the best was picked"


def test_the_cheapest_of_the_equals_is_shown(coverage: ModuleType) -> None:
    assert coverage.repeat(coverage.Truth(20_000), 25, resamples=2_000).cheapest_equal_shown >= 0.88


def test_seeds_keep_the_rate_too(coverage: ModuleType) -> None:
    held = coverage.repeat(coverage.Truth(1_000, num_seeds=3, seed_points=1.5), 100, resamples=2_000)
    assert held.all_intervals >= 0.88
    assert held.equal_called_worse <= 0.1
