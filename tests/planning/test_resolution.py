"""What the questions of a plan can show."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmarks.known_truth import EQUAL, simulate
from raggrid.analysis.inference.evidence import gather
from raggrid.analysis.inference.simultaneous import Call, family
from raggrid.planning.plan import trial_plan
from raggrid.show.printed_plan import show_plan
from tests.records import made_space


def test_a_plan_says_which_differences_its_questions_show() -> None:
    few, many = (trial_plan(made_space(), reported=("test", size)).resolution for size in (200, 20_000))
    assert few is not None
    assert many is not None
    assert (few.num_questions, few.num_lines, few.num_seeds) == (200, 7, 1)
    assert many.worse == pytest.approx(few.worse / 10, rel=0.1)
    assert f"200 test questions show a strategy to be worse if it is {100 * few.worse:.1f} points" in few.sentences[0]
    assert few.sentences[2].startswith("One seed: verdicts will be about the trained models.")
    seeds = trial_plan(made_space(seeds=[0, 1, 2]), reported=("test", 200)).resolution
    assert seeds is not None
    assert len(seeds.sentences) == 2
    out = Console(file=StringIO(), width=80, no_color=True)
    show_plan(trial_plan(made_space(), reported=("test", 200)), out)
    assert "200 test questions show a strategy to be worse" in out.file.getvalue()  # type: ignore[attr-defined]


def test_a_plan_without_data_or_with_one_strategy_says_nothing_of_differences() -> None:
    assert trial_plan(made_space()).resolution is None
    assert trial_plan(made_space(strategies=["generator"]), reported=("test", 200)).resolution is None


@pytest.mark.parametrize("others", [0.0, 0.3])
def test_what_a_plan_says_comes_true(others: float) -> None:
    """A line as far below the best as the plan says, in studies of that size: at least four of five show it, whether
    the other lines are as good as the best or a third of the way down."""
    found = trial_plan(made_space(), reported=("test", 300)).resolution
    assert found is not None
    gap = 100 * found.worse
    truth = EQUAL.with_(
        percent=(60.0 - gap, *(60.0 - others * gap,) * 5, 60.0), costs=(1.0,) * 7, num_questions=300
    )  # fmt: skip
    rng = np.random.default_rng(0)
    calls = [family(gather(simulate(truth, rng).scores, resamples=500)).standings[0].call for _ in range(100)]
    assert np.mean([call is Call.WORSE for call in calls]) >= 0.7
