"""What a table of means can say, against the bound that no score in [0, 1] exceeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raggrid.analysis.inference.evidence import interval
from raggrid.analysis.inference.means_only import draws_of_means, family_of_means
from raggrid.analysis.inference.simultaneous import Call


def test_means_alone_are_judged_by_what_they_cannot_exceed() -> None:
    """The bound is reached when all scores are 0 or 1 and the two strategies are right on different questions."""
    first, second = np.repeat([1.0, 0.0], [500, 500]), np.repeat([0.0, 1.0], [500, 500])
    found = family_of_means(np.array([0.5, 0.5]), 1_000)
    error = (first - second).std() / np.sqrt(1_000)
    assert found.standings[1].high == pytest.approx(stats.norm.ppf(0.975) * error)
    apart = family_of_means(np.array([0.2, 0.41, 0.40]), 1_000)
    assert [line.call for line in apart.standings] == [Call.WORSE, Call.UNRESOLVED, Call.UNRESOLVED]
    assert apart.contenders.tolist() == [False, True, True]
    assert not apart.about_strategies


def test_no_table_of_means_shows_a_strategy_that_a_study_of_pairs_would_not() -> None:
    """Its intervals contain those of independent samples, so they are never shorter than what pairing gives."""
    means = np.array([0.30, 0.34, 0.36])
    found = family_of_means(means, 4_000)
    draws = draws_of_means(means, 4_000, resamples=20_000, seed=0)
    for place, line in enumerate(found.standings):
        others = np.delete(np.arange(3), place)
        low, high = interval(draws[:, place] - draws[:, others].max(1), 0.95)
        assert line.low < low
        assert line.high > high


def test_draws_have_the_binomial_spread() -> None:
    draws = draws_of_means(np.array([0.3, 0.0]), 500, resamples=40_000, seed=1)
    assert draws.std(0) == pytest.approx([np.sqrt(0.3 * 0.7 / 500), 0.0], rel=0.02)


def test_one_row_alone_has_nothing_beside_it() -> None:
    (own,) = family_of_means(np.array([0.4]), 100).standings
    assert (own.difference, own.low, own.high) == (0.0, 0.0, 0.0)
