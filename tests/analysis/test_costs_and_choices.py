"""Recommendations: winners that were picked on the reported questions, and what a point costs and is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import recommend
from raggrid.errors import InputError
from raggrid.store.tables import append, create_run
from tests.records import charge, made_space, pipeline
from tests.studies import (
    TOKEN,
    answers,
    drawn,
    finalist,
    named,
    prediction_rows,
    run_of,
    standing,
)

# 7: winners were picked on the questions that are reported


def coin(seed: int) -> list[float]:
    """A hundred questions, each right with a probability of one half."""
    return [float(value) for value in np.random.default_rng(seed).random(100) < 0.5]


def selected(folder: Path, rates: int) -> Path:
    """A study without a test split: ``generator`` was picked from finalists that are all equally good, ``joint`` from
    one."""
    create_run(folder, made_space(strategies=["generator", "joint"], losses={"joint": [TOKEN]}), {})
    rows = [
        (finalist(("generator", TOKEN), None, f"g{seed}", float(np.mean(coin(seed)))), seed) for seed in range(rates)
    ]
    rows.append((pipeline("joint", TOKEN, "validation", coin(99), 900.0), 99))
    for row, seed in rows:
        append(folder, [replace(row, num_questions=100, f1=float(np.mean(coin(seed))))])
        append(folder, prediction_rows(row, coin(seed), None, False))
    return folder


def test_a_winner_of_many_finalists_loses_what_the_choice_gave_it(tmp_path: Path) -> None:
    many, one = (recommend([selected(tmp_path / str(rates), rates)]) for rates in (9, 1))
    assert many.grounds is not None
    assert one.grounds is not None
    raw = max(float(np.mean(coin(seed))) for seed in range(9))
    raised = many.grounds.selection_optimism["generator"]
    assert 0.02 < raised < 0.15
    assert standing(many, "generator").score == pytest.approx(raw - raised)
    assert next(row for row in many.table if row.strategy == "generator").f1 == pytest.approx(raw - raised)
    assert any("repeating the choice" in text for text in many.grounds.sentences)
    assert one.grounds.selection_optimism == {}
    points = {point.strategy: point.quality for point in frontier([tmp_path / "9"]).points}
    assert points["generator"] == pytest.approx(raw - raised)


# What it costs, and what it is worth


def test_the_price_of_a_point_goes_up_the_frontier(tmp_path: Path) -> None:
    shares = {"baseline": 0.1, "generator": 0.5, "two_phase": 0.45, "joint": 0.52}
    lines = {name: answers(share, 2_000, 7) for name, share in shares.items()}
    result = recommend([run_of(tmp_path / "r", lines)], price=3.6)
    steps = [(step.than_strategy, step.strategy) for step in result.point_prices]
    assert steps == [("baseline", "generator"), ("generator", "joint")]
    last = result.point_prices[-1]
    assert last.points == pytest.approx(2.0, abs=0.2)
    assert last.extra_device_seconds == pytest.approx(159 - 51)
    assert last.dollars_per_point == pytest.approx(108 / 3600 * 3.6 / last.points)
    assert last.cost_ratio == pytest.approx(159 / 51)


def test_what_a_point_is_worth_decides(tmp_path: Path) -> None:
    shares = {"baseline": 0.1, "generator": 0.5, "joint": 0.52}
    run = run_of(tmp_path / "r", {name: answers(share, 2_000, 7) for name, share in shares.items()})
    append(run, [charge("evaluate", 60.0, pipeline_id="generator-0")])
    picked = {worth: recommend([run], price=3.6, worth=worth) for worth in (0.0001, 0.02, 5.0)}
    assert [named(result) for result in picked.values()] == ["baseline", "generator", "joint"]
    rich = picked[5.0]
    assert rich.worth is not None
    assert rich.worth.net_benefit == pytest.approx(5.0 * 52 - 159 / 3600 * 3.6, abs=1.5)
    assert {own.kind for own in rich.worth.more_data} == {"questions", "seeds"}
    assert all(own.expected_gain >= 0.0 for own in rich.worth.more_data)
    with pytest.raises(InputError, match="worth: needs a price per device-hour"):
        recommend([run], worth=1.0)
    with pytest.raises(InputError, match="worth: got -1"):
        recommend([run], worth=-1.0, price=1.0)


def test_the_price_of_further_seeds_is_that_of_the_winners(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {"generator": answers(0.5, 400, 7), "two_phase": answers(0.51, 400, 3)})
    result = recommend([run], price=3.6)
    assert result.recommended is not None
    # g1 trained for 20 s and r1 for 30: twice for two seeds.
    assert (
        "train the winners with 2 further seeds, about 100 device-seconds, 0.1 dollars" in result.recommended.next_step
    )


def test_the_price_of_labels_says_what_it_takes_for_granted(tmp_path: Path) -> None:
    lines = {"independent": drawn(0.55, 200, 1), "two_phase": drawn(0.55, 200, 2)}
    value = recommend([run_of(tmp_path / "r", lines)]).label_value
    assert value is not None
    assert value.sentence.startswith(
        "Whether two_phase, which needs no labels, is as good as independent is not settled (+0.0 points, "
    )
