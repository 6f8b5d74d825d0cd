"""Simultaneous intervals: against scipy and brute force, their floor, clusters, seeds, and how often they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import to_best
from benchmarks.known_truth import CHEAP_WORSE, EQUAL, POPQA, THREE, Truth, simulate
from raggrid.analysis.inference import question_level
from raggrid.analysis.inference.clusters import cluster_codes
from raggrid.analysis.inference.common_data import LineScores, common_scores
from raggrid.analysis.inference.evidence import gather
from raggrid.analysis.inference.simultaneous import Call, Family, Standing, family, misses, with_best

Array = np.ndarray[Any, Any]


def scores(truth: Truth = POPQA, seed: int = 0, **changes: Any) -> Array:
    return simulate(truth.with_(**changes), np.random.default_rng(seed)).scores


def standings(values: Array, clusters: Array | None = None, **options: Any) -> tuple[Standing, ...]:
    return family(gather(values, clusters, resamples=2_000, **options)).standings


def ends(found: Family | tuple[Standing, ...]) -> list[tuple[float, float, float, Call]]:
    lines = found.standings if isinstance(found, Family) else found
    return [(line.difference, line.low, line.high, line.call) for line in lines]


def test_questions_belong_together_through_passages_and_groups() -> None:
    passages = [{"a"}, {"a", "b"}, {"b"}, {"c"}, set(), set(), set()]
    assert cluster_codes(passages).tolist() == [0, 0, 0, 1, 2, 3, 4]
    assert cluster_codes(passages, [None, None, None, "g", "g", None, "a"]).tolist() == [0, 0, 0, 1, 1, 2, 3]


def test_two_lines_carry_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(400)
    pair = np.stack([0.7 * easy + 0.3 * rng.random(400), 0.66 * easy + 0.3 * rng.random(400)])
    leader, other = standings(pair)
    expected = stats.ttest_rel(pair[1], pair[0]).confidence_interval(0.95)
    assert (other.low, other.high) == pytest.approx((expected.low, expected.high), abs=0.002)
    assert (leader.low, leader.high) == pytest.approx((-other.high, -other.low))


def test_a_clusters_copies_are_no_further_evidence() -> None:
    once = scores()[:, 0]
    four = np.repeat(once, 4, axis=1)
    codes = np.repeat(np.arange(once.shape[1]), 4)
    for own, expected in zip(ends(standings(four, codes)), ends(standings(once)), strict=True):
        assert own[:3] == pytest.approx(expected[:3], abs=0.004)
    naive = standings(four)[2]
    assert naive.high - naive.low < 0.6 * (standings(once)[2].high - standings(once)[2].low)


def test_the_same_questions_of_two_runs_do_not_count_twice() -> None:
    once = scores()[:, 0]
    names = [f"q{place}" for place in range(once.shape[1])] * 2
    pooled = gather(np.hstack([once, once]), cluster_codes([()] * len(names), names), resamples=500)
    assert pooled.questions.num_clusters == once.shape[1]
    assert pooled.pair_errors() == pytest.approx(gather(once, resamples=500).pair_errors(), rel=0.02)


@pytest.mark.parametrize(("few", "plain"), [(8, 0), (10**9, 10**6), (10**9, 0)])
def test_all_ways_of_drawing_give_one_distribution(monkeypatch: pytest.MonkeyPatch, few: int, plain: int) -> None:
    """Distinct rows, counted clusters and the normal limit, each against scipy's bootstrap."""
    monkeypatch.setattr(question_level, "FEW", few)
    monkeypatch.setattr(question_level, "PLAIN_CLUSTERS", plain)
    rows = scores(num_questions=600)[3:5, 0]
    drawn = gather(rows, resamples=20_000).draws(strategies=False)
    other = stats.bootstrap((rows[1] - rows[0],), np.mean, n_resamples=10_000, method="percentile", rng=1)
    own = np.quantile(drawn[:, 1] - drawn[:, 0], [0.025, 0.5, 0.975])
    expected = np.quantile(other.bootstrap_distribution, [0.025, 0.5, 0.975])
    assert np.abs(own - expected).max() < 0.12 * other.standard_error


def test_misses_are_what_brute_force_says() -> None:
    """An interval misses if a contender's pair fails upwards, or all of them fail downwards."""
    rng = np.random.default_rng(0)
    pivots = rng.standard_normal((50, 4, 4))
    pivots -= pivots.transpose(0, 2, 1)
    contenders = np.array([True, False, True, True])
    for draw, found in zip(pivots, misses(pivots, contenders), strict=True):
        worst = -np.inf
        for line in range(4):
            others = [draw[line, other] for other in range(4) if contenders[other] and other != line]
            worst = max(worst, *(-value for value in others), min(others))
        assert found == pytest.approx(worst)


def test_the_last_contender_is_compared_with_the_best_of_the_rest() -> None:
    means = np.array([0.1, 0.9, 0.5])
    found = with_best(means[:, None] - means[None], np.array([False, True, False]))
    assert found == pytest.approx([-0.8, 0.4, -0.4])


@pytest.mark.parametrize("size", [14, 30, 200, 2_000])
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.05])
def test_verdicts_never_contradict_their_intervals(size: int, margin: float) -> None:
    for seed in range(5):
        for line in family(gather(scores(seed=seed, num_questions=size), resamples=500), margin=margin).standings:
            assert (line.call is Call.AS_GOOD) == (line.low > -margin)
            assert (line.call is Call.WORSE) == (line.high < 0 and line.low <= -margin)
            assert line.low <= line.difference <= line.high


def test_ties_have_width_and_too_few_questions_show_nothing() -> None:
    few, many = (np.tile(np.arange(size) % 2, (2, 1)).astype(float) for size in (50, 5_000))
    for line in standings(few):
        assert line.low < -0.03
        assert line.high > 0.03
        assert line.call is Call.UNRESOLVED
    assert {line.call for line in standings(many)} == {Call.AS_GOOD}


def test_five_lost_of_five_that_differ_is_no_proof() -> None:
    """McNemar's exact p is 0.06, two-sided, and six lines are compared."""
    values = np.ones((2, 1000))
    values[1, :5] = 0.0
    assert standings(np.vstack([values, np.ones((4, 1000))]))[1].high > 0


def test_a_line_listed_twice_changes_nothing_and_a_tie_only_itself() -> None:
    alone = scores(seed=3)[:, 0]
    copied = np.vstack([alone, alone[3:4]])
    names = [*"abcdefg", "d"]
    assert ends(standings(copied, same=names))[:7] == ends(standings(alone))
    tied = ends(standings(copied))
    assert [line for place, line in enumerate(tied[:7]) if place != 3] == [
        line for place, line in enumerate(ends(standings(alone))) if place != 3
    ]
    assert tied[3] == tied[7]


def test_one_line_alone_has_nothing_beside_it() -> None:
    assert ends(standings(scores()[:1, 0])) == [(0.0, 0.0, 0.0, Call.AS_GOOD)]


def test_two_seeds_speak_of_the_trained_models_and_three_of_strategies() -> None:
    values = scores(THREE, num_questions=2_000, num_seeds=3, seed_points=4.0)
    models, strategies = (family(gather(values[:, :number], resamples=2_000)) for number in (2, 3))
    assert (models.about_strategies, strategies.about_strategies) == (False, True)
    assert strategies.standings[1].high - strategies.standings[1].low > 1.5 * (
        models.standings[1].high - models.standings[1].low
    )


def test_seeds_alone_give_students_t() -> None:
    """An un-tuned line beside one with three seeds, on questions that are all answered alike."""
    shifts = np.array([0.40, 0.50, 0.63])
    values = np.stack([np.full((3, 2_000), 0.3), np.repeat(shifts[:, None], 2_000, axis=1)])
    line = standings(values)[1]
    expected = stats.t.interval(0.95, 2, loc=shifts.mean() - 0.3, scale=shifts.std(ddof=1) / np.sqrt(3))
    assert (line.low, line.high) == pytest.approx(expected, abs=0.03)


def test_the_deviation_of_seeds_is_estimated() -> None:
    found = [
        gather(scores(EQUAL, seed, num_questions=2_000, num_seeds=4, seed_points=2.0), resamples=10).seeds.deviation
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(0.02, rel=0.15)
    alike = gather(np.repeat(scores(), 3, axis=1), resamples=100).seeds
    assert (alike.deviation, float(alike.drawn.max())) == (0.0, 0.0)


def test_unequal_seeds_and_questions_are_cut_to_what_all_have() -> None:
    names = tuple("abcd")
    plain = LineScores(scores=np.array([[0.0, 0.1, 0.2, 0.3]]), seeds=(0,), question_ids=names, tuned=False)
    three = LineScores(scores=np.arange(12.0).reshape(3, 4), seeds=(0, 1, 2), question_ids=names)
    two = LineScores(scores=np.array([[1.0, 2.0, np.nan], [4.0, 5.0, 6.0]]), seeds=(2, 0), question_ids=("d", "b", "a"))
    found = common_scores([three, plain, two])
    assert (found.seeds, found.question_ids) == ((0, 2), ("b", "d"))
    assert found.cube.tolist() == [[[1, 3], [9, 11]], [[0.1, 0.3], [0.1, 0.3]], [[5, 4], [2, 1]]]


def held(truth: Truth, studies: int) -> tuple[float, float]:
    """(share of studies in which all intervals hold, in which an equal line is called worse)."""
    rng, hold, wrong = np.random.default_rng(1), 0, 0
    for seed in range(studies):
        study = simulate(truth, rng)
        found = family(gather(study.scores, study.clusters, resamples=600, seed=seed))
        true = to_best(truth.means if found.about_strategies else study.trained)
        hold += all(line.low <= gap <= line.high for line, gap in zip(found.standings, true, strict=True))
        wrong += any(line.call is Call.WORSE and gap >= -1e-9 for line, gap in zip(found.standings, true, strict=True))
    return hold / studies, wrong / studies


@pytest.mark.parametrize(
    "truth",
    [
        CHEAP_WORSE,
        CHEAP_WORSE.with_(num_questions=32, icc=0.5, cluster=4),
        CHEAP_WORSE.with_(num_questions=1_000, icc=0.3, cluster=5, num_seeds=3, seed_points=1.5),
        EQUAL.with_(num_questions=500, seed_points=1.5),
    ],
    ids=["questions", "clusters", "seeds and clusters", "one seed"],
)
def test_intervals_hold_together_as_often_as_they_say(truth: Truth) -> None:
    """The short form of benchmarks/decisions.py; bounds that a right method breaks once in a hundred runs."""
    hold, wrong = held(truth, 120)
    assert hold >= 0.90
    assert wrong <= 0.10
