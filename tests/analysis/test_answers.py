"""What a sceptic found wrong with recommendations, one test per symptom, and what the two answers say instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raggrid.analysis.recommend import recommend
from raggrid.records import QuestionRecord
from raggrid.store.tables import append, read
from tests.records import charge
from tests.studies import (
    TOKEN,
    WINNERS,
    answers,
    drawn,
    named,
    run_of,
    standing,
    study,
)

TUNED = ("embedder", "generator", "independent", "two_phase", "joint")

# 1: a lack of evidence became a cheap choice


def test_a_baseline_that_answers_none_of_fourteen_is_not_recommended(tmp_path: Path) -> None:
    half = {name: drawn(0.5, 14, seed) for seed, name in enumerate(TUNED)}
    many = recommend([run_of(tmp_path / "six", {"baseline": [0.0] * 14, **half})])
    two = recommend([run_of(tmp_path / "two", {"baseline": [0.0] * 14, "generator": half["generator"]})])
    for result in (many, two):
        assert named(result) not in (None, "baseline")
        assert result.deploy is not None
        assert result.deploy.strategy != "baseline"


def test_what_is_better_by_more_than_the_margin_is_taken_though_nothing_is_shown(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)})
    result = recommend([run])
    assert standing(result, "generator").verdict == "unresolved"
    assert named(result) == "joint"
    assert result.recommended is not None
    assert result.recommended.grade == "likely"
    assert result.recommended.probability is not None
    assert f"{100 * result.recommended.probability:.0f}%" in result.recommended.reason


# 2: two families of tests contradicted each other


@pytest.mark.parametrize("size", [14, 32, 300])
def test_every_verdict_is_what_its_printed_interval_says(tmp_path: Path, size: int) -> None:
    shares = dict(zip(WINNERS, (0.2, 0.3, 0.5, 0.55, 0.56, 0.6), strict=True))
    lines = {name: drawn(share, size, seed) for seed, ((name, _), share) in enumerate(shares.items())}
    result = recommend([run_of(tmp_path / "r", lines)])
    assert len(result.standings) == 6
    verdicts = {row.strategy: row.verdict for row in result.table}
    for row in result.standings:
        expected = "as_good" if row.low > -0.01 else "worse" if row.high < 0 else "unresolved"
        assert row.verdict == verdicts[row.strategy] == expected
    for name in ("as_good", "worse", "unresolved"):
        listed = {(row.strategy, row.low, row.high) for row in getattr(result, name)}
        assert listed == {(row.strategy, row.low, row.high) for row in result.standings if row.verdict == name}


# 3: how many questions, which way, at what cost


def test_what_would_settle_it_has_a_direction_a_range_and_a_cost(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)})
    assert standing(recommend([run]), "generator").settled_by[0].high_device_seconds is None
    # Four answerings of 200 questions, as both splits of two pipelines have them: 80 s, so 0.1 s per answer.
    append(run, [charge("evaluate", 80.0, pipeline_id="generator-0")])
    (plan,) = standing(recommend([run]), "generator").settled_by
    assert (plan.kind, plan.call) == ("questions", "worse")
    assert 200 < plan.low <= plan.likely <= plan.high
    assert plan.low_device_seconds == pytest.approx((plan.low - 200) * 2 * 0.1)
    assert plan.high_device_seconds == pytest.approx((plan.high - 200) * 2 * 0.1)
    assert plan.sentence.startswith(
        f"If the difference is real, {plan.low:,} to {plan.high:,} questions would show it "
    )
    assert plan.sentence.endswith("of answering.")


def test_a_margin_of_zero_keeps_the_number_of_questions(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)})
    result = recommend([run], margin=0.0)
    assert standing(result, "generator").settled_by[0].call == "worse"
    assert {row.strategy: row.questions_needed for row in result.unresolved}["generator"] is not None


# 4: one seed speaks of the trained models


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_no_strategy_is_shown_below_three_seeds(tmp_path: Path, seeds: int) -> None:
    alike = {name: [answers(0.6, 2_000, 7)] * seeds for name in ("generator", "two_phase")}
    result = recommend([run_of(tmp_path / "r", {"baseline": answers(0.1, 2_000, 7), **alike})])
    assert result.recommended is not None
    assert result.deploy is not None
    assert result.deploy.grade == "shown"
    assert (result.recommended.grade == "shown") is (seeds == 3)
    assert result.grounds is not None
    assert result.grounds.about == ("strategies" if seeds == 3 else "trained_models")
    assert ("further seed" in result.recommended.next_step) is (seeds < 3)
    assert result.grounds.seed_deviation_assumed is (seeds == 1)


@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_that_do_not_differ_measurably_are_not_said_to_differ_by_nothing(tmp_path: Path, seeds: int) -> None:
    """The turned answers differ from seed to seed, the means hardly."""
    keys = [key for key in WINNERS if key[0] != "joint"]
    found = recommend(
        [study(tmp_path / "run", {key: [answers(0.6, 200, seed) for seed in range(seeds)] for key in keys})]
    )
    assert found.recommended is not None
    assert found.grounds is not None
    assert found.grounds.seed_deviation == 0.0
    told = (found.recommended.caveat if seeds == 2 else "", *found.grounds.sentences)
    assert sum("by no more than the choice of questions explains" in text for text in told) == 4 - seeds
    assert not any(" 0 points" in text for text in told)


def test_equal_strategies_whose_seeds_differ_are_not_called_worse(tmp_path: Path) -> None:
    """Three seeds, 3 points apart, over so many questions that questions alone would show any difference."""
    shifts = {"generator": (0.00, 0.03, -0.03), "two_phase": (0.02, 0.03, -0.02), "joint": (0.04, -0.01, 0.03)}
    lines = {name: [answers(0.6 + shift, 4_000, 7) for shift in own] for name, own in shifts.items()}
    result = recommend([run_of(tmp_path / "r", lines)])
    assert {row.verdict for row in result.standings} == {"unresolved"}
    assert result.grounds is not None
    assert result.grounds.seed_deviation == pytest.approx(0.027, abs=0.008)
    assert any("standard deviation" in text for text in result.grounds.sentences)


def test_the_pipeline_to_deploy_is_one_of_the_seeds(tmp_path: Path) -> None:
    lines = {"generator": [answers(0.5, 4_000, 7), answers(0.7, 4_000, 7)], "joint": [answers(0.6, 4_000, 7)] * 2}
    result = recommend([run_of(tmp_path / "r", lines)])
    assert result.deploy is not None
    assert (result.deploy.strategy, result.deploy.seed, result.deploy.pipeline_id) == ("generator", 1, "generator-1")
    assert result.deploy.score == pytest.approx(np.mean(answers(0.7, 4_000, 7)))


# 5: what the user cannot have


def test_what_is_out_of_reach_does_not_make_the_rest_look_worse(tmp_path: Path) -> None:
    """Without labels, 0.1 points are not worth more, however much better the strategy with labels is."""
    shares = {"generator": 0.599, "two_phase": 0.6, "independent": 0.7}
    run = run_of(tmp_path / "r", {name: answers(share, 10_000, 7) for name, share in shares.items()})
    for case in ({"labels": False}, {"max_device_hours": 60 / 3600}):
        result = recommend([run], **case)  # type: ignore[arg-type]
        assert named(result) == "generator"
        assert standing(result, "generator").verdict == "as_good"
        assert result.out_of_reach[0].strategy == "independent"
        assert result.out_of_reach[0].difference == pytest.approx(0.1, abs=0.005)
        assert result.out_of_reach[0].low > 0.09  # type: ignore[operator]
        assert result.deploy is not None
        assert result.deploy.strategy == "independent"  # it is trained already


# 6: handling of data


def test_table_and_verdict_are_over_the_seeds_that_all_have(tmp_path: Path) -> None:
    lines = {"generator": [answers(0.5, 400), answers(0.9, 400)], "joint": [answers(0.6, 400)]}
    result = recommend([run_of(tmp_path / "r", lines, seeds=[0, 1])])
    assert result.grounds is not None
    assert result.grounds.seeds == (0,)
    for row in result.table:
        assert row.f1 == pytest.approx(standing(result, row.strategy).score)
        assert row.num_seeds == 1
    assert standing(result, "generator").score == pytest.approx(np.mean(answers(0.5, 400)))
    assert any("from 1 to 2 seeds" in text for text in result.warnings)


def test_the_same_questions_of_two_runs_count_once(tmp_path: Path) -> None:
    lines = {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)}
    one, other = (run_of(tmp_path / name, lines) for name in ("one", "other"))
    alone, both = recommend([one]), recommend([one, other])
    assert both.num_questions == alone.num_questions == 200
    for row, same in zip(both.standings, alone.standings, strict=True):
        assert (row.low, row.high) == pytest.approx((same.low, same.high))


def test_questions_of_two_runs_that_share_an_id_alone_are_two(tmp_path: Path) -> None:
    lines = {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)}
    runs = [run_of(tmp_path / name, lines) for name in ("one", "other")]
    for run in runs:
        append(run, asked(200, about=run.name))
    assert recommend(runs).num_questions == 400


def asked(size: int, *, about: str = "it", per_passage: int = 1, group: str | None = None) -> list[QuestionRecord]:
    return [
        QuestionRecord(
            split="test", question_id=f"q{place:05d}", question=f"What of {about} {place}?", answers=("x",),
            context_ids=(f"p{place // per_passage}",), group=group and f"{group}{place // 10}",
        )
        for place in range(size)
    ]  # fmt: skip


@pytest.mark.parametrize(("options", "clusters"), [({}, 200), ({"per_passage": 4}, 50), ({"group": "g"}, 20)])
def test_questions_that_share_a_passage_or_a_group_are_resampled_together(
    tmp_path: Path, options: dict[str, Any], clusters: int
) -> None:
    run = run_of(tmp_path / "r", {"generator": drawn(0.50, 200, 1), "joint": drawn(0.56, 200, 2)})
    before = recommend([run]).grounds
    append(run, asked(200, **options))
    after = recommend([run]).grounds
    assert before is not None
    assert after is not None
    assert (before.clusters_known, after.clusters_known) == (False, True)
    assert (before.num_clusters, after.num_clusters) == (200, clusters)
    assert "is not recorded" in before.sentences[0]
    assert ("clusters" in after.sentences[0]) is (clusters < 200)


def test_a_generator_in_hand_is_used(tmp_path: Path) -> None:
    """All lines alike: doing nothing costs as little, but the un-tuned generator is not what the user has."""
    run = run_of(tmp_path / "r", {name: answers(0.6, 400, 7) for name, _ in WINNERS})
    result = recommend([run], have="generator")
    assert named(result) == "generator"
    assert {row.strategy for row in result.table if row.verdict == "out_of_reach"} == {"baseline", "embedder"}


def test_an_embedder_in_hand_gets_no_false_sentence(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {name: answers(0.6 if loss == TOKEN else 0.1, 400, 7) for name, loss in WINNERS})
    result = recommend([run], have="embedder")
    assert named(result) == "independent"
    assert result.disagreement == ""
    assert "rules it out" not in str(result.to_json())


def test_ties_have_an_interval_and_a_chance(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {"generator": answers(0.6, 60, 7), "joint": answers(0.6, 60, 7)})
    for row in recommend([run]).standings:
        assert row.difference == 0.0
        assert row.low < -0.02 < 0.02 < row.high
        assert 0.2 < row.probability < 0.9


def test_where_nothing_scores_nothing_is_said(tmp_path: Path) -> None:
    result = recommend([run_of(tmp_path / "r", {"generator": [0.0] * 50, "joint": [0.0] * 50})])
    assert result.recommended is not None
    assert result.deploy is not None
    assert (result.recommended.grade, result.deploy.grade) == ("open", "open")
    assert result.recommended.reason == "No strategy scores on any question, so the questions say nothing."


def test_a_question_of_an_earlier_release_has_no_labels_on_record(tmp_path: Path) -> None:
    """Unknown is not the same as none."""
    run = run_of(tmp_path / "r", {"generator": answers(0.5, 20)})
    rows = asked(2)
    append(run, [replace(rows[0], context_ids=None), replace(rows[1], context_ids=())])
    assert [row.context_ids for row in read(run, QuestionRecord)] == [None, ()]
