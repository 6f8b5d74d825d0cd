"""What a recommendation says about a user's case: what is in hand, budgets, labels, controls, seeds, warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raggrid.analysis.bill import bill
from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import Recommendation, recommend
from raggrid.analysis.rule import paper_rule
from raggrid.errors import InputError
from raggrid.records import PredictionRecord, Status, TrialRecord
from raggrid.store.tables import append, read
from tests.studies import TOKEN, WINNERS, answers, study

SIZE = 1_000
EQUAL = {key: [answers(0.6 if key[1] == TOKEN else 0.1, SIZE, 7)] for key in WINNERS}


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All strategies that tune the generator answer alike; the others hardly answer."""
    return study(tmp_path_factory.mktemp("equal") / "run", EQUAL)


def chosen(result: Recommendation) -> tuple[str, str] | None:
    return (result.recommended.strategy, result.recommended.grade) if result.recommended else None


def cost(result: Recommendation, strategy: str, basis: str) -> float:
    row = next(row for row in result.costs["strategies"] if row["strategy"] == strategy)
    return float(row[f"{basis}_device_seconds"])


def test_what_is_in_hand_is_not_paid_again(equal: Path) -> None:
    result = recommend([equal], have="generator")
    left = {name: (cost(result, name, "search"), cost(result, name, "final")) for name, _ in WINNERS}
    assert left == {
        "baseline": (0, 0), "embedder": (12, 5), "generator": (0, 0), "independent": (12, 5), "two_phase": (62, 30),
        "joint": (108, 45),
    }  # fmt: skip
    embedder = recommend([equal], have="embedder")
    assert (cost(embedder, "independent", "search"), cost(embedder, "two_phase", "search")) == (51, 113)


def test_a_generator_in_hand_turns_two_phase_and_joint_round(tmp_path: Path) -> None:
    lines = {key: EQUAL[key] for key in WINNERS if key[0] in ("baseline", "two_phase", "joint")}
    run = study(tmp_path / "r", lines)
    case: dict[str, Any] = {"labels": False, "known_learning_rates": True}
    assert chosen(recommend([run], **case)) == ("joint", "likely")
    turned = recommend([run], **case, have="generator")
    assert chosen(turned) == ("two_phase", "likely")
    assert turned.rule.strategy == "two_phase"
    assert turned.agrees
    assert turned.disagreement == ""


def test_an_embedder_in_hand_needs_no_labels_any_more(equal: Path) -> None:
    assert paper_rule(labels=False, known_learning_rates=False, have="embedder").strategy == "independent"
    result = recommend([equal], labels=False, have="embedder")
    assert chosen(result) == ("independent", "likely")
    assert result.agrees
    assert result.label_value is None
    assert {row.strategy: row.verdict for row in result.table}["generator"] == "out_of_reach"


def test_disagreement_over_two_phase_and_joint_tells_how_the_paper_counts(tmp_path: Path) -> None:
    lines = {key: EQUAL[key] for key in WINNERS if key[0] in ("two_phase", "joint")}
    result = recommend([study(tmp_path / "r", lines)], labels=False, known_learning_rates=False, cost="final")
    assert (result.rule.strategy, chosen(result)) == ("two_phase", ("joint", "likely"))
    assert "costs more than joint (token) (1.11 times the final cost)" in result.disagreement
    for number in ("61.0", "37.2", "23.8", "--have generator"):
        assert number in result.disagreement


def test_budgets_rule_out_what_costs_more_and_say_when_nothing_is_left(tmp_path: Path, equal: Path) -> None:
    whole = recommend([equal], max_device_hours=60 / 3600)
    assert chosen(whole) == ("generator", "likely")
    assert {chosen(recommend([equal], max_device_hours=hours / 3600)) for hours in (5, 40)} <= {
        ("baseline", "open"), ("baseline", "likely"), ("embedder", "likely"),
    }  # fmt: skip
    dear = study(tmp_path / "r", {("joint", TOKEN): EQUAL["joint", TOKEN]})
    none = recommend([dear], max_dollars=0.5, price=36.0)  # 50 device-seconds
    assert none.recommended is None
    assert none.none_because is not None
    assert "joint (token), has a search cost of 159 device-seconds; your limit is 50.0" in none.none_because
    assert chosen(recommend([dear], max_dollars=2.0, price=36.0)) == ("joint", "open")  # nothing is beside it
    with pytest.raises(InputError, match="needs a price per device-hour"):
        recommend([dear], max_dollars=1.0)
    with pytest.raises(InputError, match="max_device_hours: got -1"):
        recommend([dear], max_device_hours=-1)


def test_a_study_that_a_budget_ended_early_is_called_incomplete_though_every_strategy_answered(tmp_path: Path) -> None:
    """Of three rates a side two were tried for the embedder; a trial that went over budget is still to go on."""
    run = study(tmp_path / "r", EQUAL)
    words = " ".join(recommend([run]).warnings)
    assert "incomplete: trials finished: 2 of 3 of embedder_labels, 2 of 3 of embedder_rag/rag_token. The" in words
    append(run, [replace(row, status=Status.OVER_BUDGET) for row in read(run, TrialRecord) if row.trial_id == "g3"])
    assert "2 of 3 of generator_rag/rag_token" in " ".join(recommend([run]).warnings)
    more = [replace(row, trial_id=f"{row.trial_id}-more", status=Status.COMPLETED)
            for row in read(run, TrialRecord) if row.trial_id in ("e2", "g3", "r2")]  # fmt: skip
    append(run, more)
    assert "incomplete" not in " ".join(recommend([run]).warnings)


def test_what_waits_for_a_search_that_failed_is_not_still_to_run(tmp_path: Path) -> None:
    run = study(tmp_path / "r", EQUAL)
    append(
        run, [replace(row, status=Status.DIVERGED) for row in read(run, TrialRecord) if row.phase == "generator_rag"]
    )
    words = " ".join(recommend([run]).warnings)
    assert "trials finished: 2 of 3 of embedder_labels. The" in words


def test_the_price_of_a_device_comes_from_the_space(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {("joint", TOKEN): EQUAL["joint", TOKEN]}, resources={"dollars_per_device_hour": 7.2})
    assert recommend([run]).costs["strategies"][0]["dollars"] == pytest.approx(159 / 3600 * 7.2)
    assert recommend([run], price=3.6).costs["dollars_per_device_hour"] == 3.6


def test_several_types_of_device_add_up_by_their_prices(tmp_path: Path) -> None:
    """The embedder's labelled phase ran on an A10, all else on an H100 that costs four times as much."""
    run = study(tmp_path / "r", EQUAL)
    append(run, [replace(row, device_type="A10" if row.phase == "embedder_labels" else "NVIDIA H100 80GB HBM3")
                 for row in read(run, TrialRecord)])  # fmt: skip
    assert "as if these devices cost the same" in recommend([run], price=3.6).costs["caveat"]
    result = recommend([run], price={"A10": 0.9, "h100": 3.6})
    left = {name: (cost(result, name, "search"), cost(result, name, "final")) for name, _ in WINNERS}
    assert left == {
        "baseline": (0, 0), "embedder": (3, 1.25), "generator": (51, 20), "independent": (54, 21.25),
        "two_phase": (113, 50), "joint": (108 + 51 - 9 + 9, 45),
    }  # fmt: skip
    row = next(row for row in result.costs["strategies"] if row["strategy"] == "independent")
    assert row["dollars"] == pytest.approx(12 / 3600 * 0.9 + 51 / 3600 * 3.6)
    assert result.costs["caveat"] == (
        "Costs are hours of NVIDIA H100 80GB HBM3: by price, an hour of A10 counts as 0.25 of one."
    )
    points = {point.strategy: point.device_seconds for point in frontier([run], price={"A10": 0.9, "h100": 3.6}).points}
    assert points["independent"] == 54
    with pytest.raises(InputError, match=r"price: got prices for A10; expected one for NVIDIA H100 80GB HBM3 as well"):
        recommend([run], price={"A10": 0.9})
    with pytest.raises(InputError, match="price: got -1"):
        recommend([run], price={"A10": -1, "H100": 1})


def test_one_type_of_device_takes_its_own_price(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {("joint", TOKEN): EQUAL["joint", TOKEN]})
    assert recommend([run], price={"cpu": 7.2, "A10": 1.0}).costs["strategies"][0]["dollars"] == pytest.approx(0.318)


def test_the_space_says_prices_by_type_as_well(tmp_path: Path) -> None:
    by_type = {"cpu": 7.2, "A10": 1.0}
    run = study(
        tmp_path / "r", {("joint", TOKEN): EQUAL["joint", TOKEN]}, resources={"dollars_per_device_hour": by_type}
    )
    assert recommend([run]).costs["strategies"][0]["dollars"] == pytest.approx(0.318)
    assert bill(run).dollars == bill(run, price=by_type).dollars
    other = study(
        tmp_path / "s", {("joint", TOKEN): EQUAL["joint", TOKEN]}, resources={"dollars_per_device_hour": {"H100": 3.0}}
    )
    with pytest.raises(InputError, match="got prices for H100; expected one for cpu as well"):
        recommend([other])


def test_strategies_are_compared_in_the_metric_that_picked_the_winners(tmp_path: Path, equal: Path) -> None:
    run = study(tmp_path / "r", EQUAL, selection={"metric": "exact_match"})
    assert (recommend([run]).metric, frontier([run]).metric) == ("exact_match", "exact_match")
    assert recommend([run], metric="f1").metric == "f1"
    assert (recommend([equal]).metric, recommend([run, equal]).metric) == ("f1", "f1")


def test_break_even_price_of_a_label(tmp_path: Path) -> None:
    """Two_phase costs 113, independent 63, over 100 labelled questions: half a device-second a label."""
    lines = {key: EQUAL[key] for key in WINNERS if key[0] in ("independent", "two_phase", "joint")}
    value = recommend([study(tmp_path / "r", lines)], price=7.2).label_value
    assert value is not None
    assert (value.with_labels, value.without_labels, value.num_labels) == ("independent", "two_phase", 100)
    assert value.device_seconds_saved == pytest.approx(50.0)
    assert value.device_seconds_per_label == pytest.approx(0.5)
    assert value.dollars_per_label == pytest.approx(0.5 / 3600 * 7.2)


def test_labels_worth_nothing_or_more_than_any_price(tmp_path: Path, equal: Path) -> None:
    cheaper = recommend([equal]).label_value
    assert cheaper is not None
    assert "save nothing" in cheaper.sentence
    better = {**EQUAL, ("independent", TOKEN): [answers(0.9, SIZE, 7)]}
    beyond = recommend([study(tmp_path / "r", better)]).label_value
    assert beyond is not None
    assert beyond.device_seconds_per_label is None
    assert "no label is too expensive" in beyond.sentence


def test_controls_stand_beside_the_scores_and_warn(tmp_path: Path) -> None:
    control = {"answers": {"where": "Paris", "who": "Paris"}, "exact_match": 0.6, "f1": 0.61}
    run = study(tmp_path / "r", EQUAL, environment={"data": {"constant_answer": {"test": control}}}, contains=True)
    result = recommend([run])
    assert result.controls.constant_answer is not None
    assert result.controls.constant_answer.answers == ("Paris",)
    assert any("most frequent training answer" in text and "retrieval helps" in text for text in result.warnings)
    row = next(row for row in result.table if row.strategy == "joint")
    assert row.contains_answer == pytest.approx((row.f1 or 0.0) + 0.25 * (1 - (row.f1 or 0.0)))


def test_rouge_l_decides_where_it_is_asked_for(tmp_path: Path) -> None:
    control = {"answers": {"who": "Paris"}, "exact_match": 0.1, "f1": 0.1, "rouge_l": 0.595}
    lines = {key: EQUAL[key] for key in WINNERS if key[0] in ("two_phase", "joint")}
    run = study(tmp_path / "r", lines, environment={"data": {"constant_answer": {"test": control}}})
    # Joint's words come in another order: F1 does not see it, ROUGE-L does.
    rows = [row for row in read(run, PredictionRecord) if row.strategy == "joint"]
    append(run, [replace(row, rouge_l=row.f1 / 2) for row in rows])
    by_f1, by_rouge = recommend([run]), recommend([run], metric="rouge_l")
    assert {row.strategy for row in by_f1.worse} == set()
    assert {row.strategy for row in by_rouge.worse} == {"joint"}
    scores = {row.strategy: row.scores["rouge_l"] for row in by_rouge.table}
    assert scores["joint"] == pytest.approx((scores["two_phase"] or 0.0) / 2)
    assert not any("retrieval helps" in text for text in by_f1.warnings)
    assert any("ROUGE-L; giving the most frequent training answer" in text for text in by_rouge.warnings)
    points = {point.strategy: point.quality for point in frontier([run], metric="rouge_l").points}
    assert points == pytest.approx(scores)


def test_a_run_that_is_older_than_a_metric_says_so(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {key: [answers(0.5, 40)] for key in WINNERS})
    append(run, [replace(row, rouge_l=None) for row in read(run, PredictionRecord)])
    for verb in (recommend, frontier):
        with pytest.raises(InputError, match="metric: got rouge_l; no question has a value"):
            verb([run], metric="rouge_l")


def test_a_generator_without_passages_is_a_control_and_no_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("closed_book", "closed_book")
    monkeypatch.setitem(WINNERS, key, (None, "c1", 1.0, 1.0, 1.0))  # type: ignore[arg-type]
    run = study(tmp_path / "r", {key: [answers(0.6, SIZE, 7)], ("joint", TOKEN): EQUAL["joint", TOKEN]})
    result = recommend([run])
    assert chosen(result) == ("joint", "open")  # nothing is beside it
    assert [row.strategy for row in result.table] == ["joint"]
    assert result.controls.closed_book is not None
    assert any("tuned without passages" in text for text in result.warnings)


def test_collapsed_retrieval_is_named(tmp_path: Path) -> None:
    lines = {key: EQUAL[key] for key in WINNERS if key[0] in ("baseline", "two_phase", "independent")}
    run = study(tmp_path / "r", lines, retrieved={"two_phase": ["p1", "p2", "p3"]})
    found = [text for text in recommend([run]).warnings if "collapsed" in text]
    assert len(found) == 1
    assert found[0].startswith("two_phase: retrieval has collapsed: 500 questions retrieve only 3 distinct passages")


def test_json_is_plain_and_whole(equal: Path) -> None:
    data = json.loads(json.dumps(recommend([equal], price=1.0).to_json(), allow_nan=False))
    assert {"label_value", "controls", "case", "none_because", "disagreement", "notes", "num_seeds"} <= set(data)
    assert data["costs"]["in_hand"] is None
    assert set(data["as_good"][0]) >= {"strategy", "loss", "difference", "low", "high", "alone_low", "alone_high"}
