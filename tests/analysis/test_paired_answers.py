"""Which answers a recommendation compares: over seeds, the last of each question, those that all answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raggrid.analysis.recommend import recommend
from raggrid.analysis.results import load_results
from raggrid.records import PredictionRecord
from raggrid.store.tables import append, read
from tests.studies import TOKEN, WINNERS, answers, prediction_rows, study

SIZE = 1_000
EQUAL = {key: [answers(0.6 if key[1] == TOKEN else 0.1, SIZE, 7)] for key in WINNERS}


def test_seeds_are_averaged_and_make_a_second_level(tmp_path: Path) -> None:
    """One strategy's seeds are far apart: its mean is over them, and its verdict stays open."""
    shaky = [answers(share, SIZE, 7) for share in (0.5, 0.6, 0.7)]
    lines = {**{key: EQUAL[key] * 3 for key in WINNERS}, ("two_phase", TOKEN): shaky, ("baseline", None): [shaky[0]]}
    run = study(tmp_path / "r", lines)
    line = next(line for line in load_results(run).measured if line.strategy == "two_phase")
    assert line.seeds == (0, 1, 2)
    assert line.by_seed["f1"].shape == (3, SIZE)
    assert line.mean("f1") == pytest.approx(np.mean(shaky))
    assert line.costs.final == pytest.approx(51.0)
    result = recommend([run])
    assert result.num_seeds == 3
    assert {row.strategy for row in result.unresolved} >= {"two_phase"}
    assert result.recommended is not None
    assert result.recommended.caveat == ""
    one, two = (
        recommend([study(tmp_path / str(count), {key: EQUAL[key] * count for key in WINNERS})]) for count in (1, 2)
    )
    for few, start in ((one, "One seed: this is about these trained models."), (two, "Two seeds: this is about")):
        assert few.recommended is not None
        assert few.recommended.caveat.startswith(start)
        assert few.recommended.grade != "shown"


def test_an_answer_given_again_supersedes_the_first(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {("joint", TOKEN): [answers(0.5, 40)]})
    row = load_results(run).measured[0].winner
    append(run, prediction_rows(row, [1.0] * 40, None, False))
    assert load_results(run).measured[0].mean("f1") == 1.0
    assert len({r.question_id for r in read(run, PredictionRecord)}) == 40


def test_strategies_are_compared_over_the_questions_that_all_answered(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {("generator", TOKEN): [answers(0.5, 40)]}, strategies=["generator", "joint"])
    values = answers(0.9, 30)
    for split in ("validation", "test"):
        row = replace(load_results(run).measured[0].winner, pipeline_id="j", strategy="joint", split=split)
        append(run, [row])
        # In another order than the first strategy's.
        append(run, prediction_rows(row, values, None, False)[::-1])
    result = recommend([run])
    assert result.num_questions == 30
    means = {row.strategy: row.difference for row in (*result.as_good, *result.unresolved, *result.worse)}
    gap = float(np.mean(values) - np.mean(answers(0.5, 40)[:30]))
    assert (means["joint"], means["generator"]) == pytest.approx((gap, -gap))
