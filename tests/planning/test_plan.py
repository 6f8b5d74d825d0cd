"""The bill before anything runs: counts by hand and by brute force, and what other settings would cost."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from raggrid.backend.ray.scheduler import PhaseScheduler
from raggrid.graph import study_graph
from raggrid.model_size import ModelSize
from raggrid.planning.cost_model import Setting
from raggrid.planning.devices import DEVICES
from raggrid.planning.estimate import Range, Sizes, make_estimate
from raggrid.planning.expected_stops import expected_ends, fewest_ends, no_ends, synchronous_ends
from raggrid.planning.plan import trial_plan
from raggrid.planning.pricing import Pricing, price
from raggrid.planning.workload import assumed_workload
from raggrid.show.printed_plan import show_plan, show_plans
from raggrid.space.search_space import SearchSpace
from raggrid.study.rounds import HalvingGroup
from raggrid.study.tasks import AnswerTask
from raggrid.unit_costs import PhaseCosts, UnitCosts
from tests.controllers import new_controller, play
from tests.records import made_space

# A body of 100 M parameters under a vocabulary of 10,000 x 1,000, tied; and a tenth of it.
GENERATOR = ModelSize(110e6, 10e6, 1000, 10, True, "made up")
EMBEDDER = ModelSize(11e6, 1e6, 1000, 1, True, "made up")
UNITS = UnitCosts(
    {"embedder_labels": PhaseCosts(1.0, 0.5), "generator_rag": PhaseCosts(10.0, 5.0, first_step_seconds=4.0),
     "embedder_rag": PhaseCosts(6.0, 5.0), "joint_rag": PhaseCosts(12.0, 5.0, startup_seconds=3.0)},
    0.25, 1.0, 7.0, {"generator_rag": 2e9, "joint_rag": 3e9}, "made up",
)  # fmt: skip
SIZES = Sizes({"validation": 40, "test": 100}, 2)


def setting(space: SearchSpace, device: str = "A10", bits: int = 16) -> Setting:
    return Setting(space, EMBEDDER, GENERATOR, assumed_workload(space), DEVICES[device], bits)


def priced(space: SearchSpace, *, dollars: float | None = None) -> Pricing:
    return price(setting(space), UNITS, num_devices=2, dollars_per_device_hour=dollars, notes=("Made up.",))


# Early stopping


def test_expected_ends_are_the_mean_over_all_orders_of_rays_own_rule() -> None:
    """Every order of five trials, handed to the scheduler that a study uses."""
    space = made_space(learning_rates={"embedder": [1e-6, 2e-6, 3e-6, 4e-6, 5e-6], "generator": [1e-4]},
                       strategies=["embedder"], early_stopping={"reduction_factor": 2, "min_fraction": 0.25},
                       training={"labels": {"steps": 40}})  # fmt: skip
    counts = np.zeros(3)
    orders = list(permutations(range(5)))
    for order in orders:
        searches = study_graph(space).searches
        halving = PhaseScheduler(space, searches).halving(HalvingGroup(next(iter(searches)), 0, None))
        for loss in order:
            counts[_rung_of_stop(halving, loss)] += 1
    assert expected_ends(5, 2, 2) == pytest.approx(tuple(counts / len(orders)), abs=0.1)


def _rung_of_stop(halving: object, loss: int) -> int:
    from types import SimpleNamespace

    trial = SimpleNamespace(trial_id=str(loss))
    halving.on_trial_add(None, trial)  # type: ignore[attr-defined]
    for rung, step in enumerate((10, 20)):
        result = {"step": step, "objective": float(loss)}
        if halving.on_trial_result(None, trial, result) == "STOP":  # type: ignore[attr-defined]
            return rung
    return 2


def test_the_certain_cases_of_early_stopping() -> None:
    assert fewest_ends(9, 2) == (8.0, 0.0, 1.0)
    assert no_ends(9, 2) == (0.0, 0.0, 9.0)
    assert synchronous_ends(9, 2, 3) == (6.0, 2.0, 1.0)
    assert fewest_ends(3, 0) == no_ends(3, 0) == (3.0,)
    for ends in (expected_ends(9, 2, 3), fewest_ends(9, 2), synchronous_ends(10, 3, 2)):
        assert sum(ends) == pytest.approx(round(sum(ends)))


# The bill


def test_a_strategy_costs_what_its_trials_cost() -> None:
    """Counted by hand: 24 steps with one rung at 8, three rates a side, the pair of two_phase for joint."""
    space = made_space(training={"labels": {"steps": 24}, "rag": {"steps": 24}})
    bill = make_estimate(space, UNITS, SIZES)
    rows = {(row.strategy, row.loss): row for row in bill.strategies}
    assert rows["embedder", "mnr"].final_device_seconds == 24.0
    assert rows["generator", "rag_token"].final_device_seconds == 4 + 240
    assert rows["two_phase", "rag_token"].final_device_seconds == 4 + 240 + 24 * 6
    assert rows["joint", "rag_token"].final_device_seconds == 24 * 12
    whole, cut = 4 + 240 + 2 * 5, 4 + 80 + 5
    search = rows["generator", "rag_token"].search_device_seconds
    assert (search.low, search.high) == (whole + 2 * cut, 3 * whole)
    assert search.low < search.expected < search.high
    assert rows["joint", "rag_token"].marginal_device_seconds == Range(298.0, 298.0, 298.0)
    assert rows["generator", "rag_token"].marginal_device_seconds.high == 0.0
    assert rows["baseline", None].search_device_seconds.high == 0.0


def test_the_whole_is_the_sum_of_its_parts() -> None:
    bill = make_estimate(made_space(), UNITS, SIZES)
    for scenario in ("low", "expected", "high"):
        parts = [bill.training_device_seconds, bill.answering_device_seconds, bill.startup_device_seconds]
        assert getattr(bill.total_device_seconds, scenario) == pytest.approx(
            sum(getattr(part, scenario) for part in parts) + bill.index_device_seconds
        )
        trained = sum(getattr(row.device_seconds, scenario) for row in bill.searches)
        assert getattr(bill.training_device_seconds, scenario) == pytest.approx(trained)
    # Three searches of two finalists, two of one, baseline and independent; seven winners on test.
    assert bill.answering_device_seconds.high == pytest.approx(((3 * 2 + 2 + 2) * 40 + 7 * 100) * 0.25)


@pytest.mark.parametrize("seeds_for", ["winners", "grid"])
@pytest.mark.parametrize(
    "strategies",
    [["baseline", "embedder", "generator", "independent", "two_phase", "joint"], ["baseline", "two_phase"],
     ["independent", "two_phase"], ["generator", "independent"], ["embedder"], ["baseline", "joint"]],
)  # fmt: skip
def test_the_least_answering_has_what_a_study_really_takes_over(
    tmp_path: Path, strategies: list[str], seeds_for: str
) -> None:
    space = made_space(strategies=strategies, seeds=[0, 1], seeds_for=seeds_for, early_stopping={"enabled": False})
    bill = make_estimate(space, UNITS, SIZES)
    tasks = [task for task in play(new_controller(tmp_path / "r", space)) if isinstance(task, AnswerTask)]
    for attribute, wanted in (("low", [t for t in tasks if t.same_generator is None]), ("high", tasks)):
        seconds = 0.25 * sum(SIZES.questions[task.split] for task in wanted)
        assert getattr(bill.answering_device_seconds, attribute) == pytest.approx(seconds)


def test_stopping_switched_off_makes_all_cases_one_and_workers_multiply() -> None:
    off = make_estimate(made_space(early_stopping={"enabled": False}), UNITS, SIZES)
    assert off.training_device_seconds.low == off.training_device_seconds.high
    on = make_estimate(made_space(), UNITS, SIZES)
    assert on.training_device_seconds.high == off.training_device_seconds.high
    four = make_estimate(made_space(resources={"workers": 4}), UNITS, SIZES)
    assert four.training_device_seconds.expected == pytest.approx(4 * on.training_device_seconds.expected)


def test_further_seeds_repeat_the_winners_or_the_grid() -> None:
    one = make_estimate(made_space(), UNITS, SIZES)
    winners = make_estimate(made_space(seeds=[0, 1, 2]), UNITS, SIZES)
    grid = make_estimate(made_space(seeds=[0, 1, 2], seeds_for="grid"), UNITS, SIZES)
    again = 2 * sum(row.trial_device_seconds for row in one.searches)
    assert winners.training_device_seconds.high == pytest.approx(one.training_device_seconds.high + again)
    assert grid.training_device_seconds.expected == pytest.approx(3 * one.training_device_seconds.expected)
    assert (one.num_trials, winners.num_trials, grid.num_trials) == (11, 11 + 2 * 5, 33)
    assert winners.strategies == one.strategies


def test_choices_are_the_studies_they_name() -> None:
    space = made_space()
    rows = {row.name: row for row in priced(space).choices}
    assert [row.name for row in rows.values() if row.chosen] == ["joint: two_phase", "early stopping on"]
    for joint, name in (("grid", "joint: grid"), ("separable", "joint: separable")):
        rates = {**space.learning_rates.model_dump(), "joint": joint}
        other = make_estimate(made_space(learning_rates=rates), UNITS, Sizes({"validation": 64, "test": 0}, 2))
        assert rows[name].total_device_seconds == other.total_device_seconds
    assert rows["joint: grid"].num_trials == 3 + 3 + 3 + 9 + 9


def test_money_is_hours_times_the_price() -> None:
    pricing = priced(made_space(), dollars=3.0)
    assert pricing.total_dollars is not None
    assert pricing.total_dollars.high == pytest.approx(pricing.bill.total_device_seconds.high * 3 / 3600)
    assert pricing.money[2].final_dollars == pytest.approx(pricing.bill.strategies[2].final_device_seconds * 3 / 3600)
    assert priced(made_space()).total_dollars is None


def test_a_budget_that_does_not_reach_is_told() -> None:
    assert priced(made_space(budget={"device_hours": 100})).notes == ("Made up.",)
    tight = made_space(budget={"device_hours": 0.1, "dollars": 0.2}, resources={"dollars_per_device_hour": 4})
    notes = priced(tight, dollars=4.0).notes
    assert [note.partition("budget.")[2].partition(" ")[0] for note in notes[:-1]] == ["device_hours", "dollars"]
    assert "ends it at 0.1, incomplete" in notes[0]


# In print


@pytest.mark.parametrize("dollars", [None, 12.5])
def test_bills_fit_eighty_columns(dollars: float | None) -> None:
    out = Console(file=StringIO(), width=80, no_color=True)
    expensive = made_space(training={"rag": {"steps": 100_000}, "labels": {"steps": 100_000}})
    results = [trial_plan(space, priced(space, dollars=dollars)) for space in (made_space(), expensive)]
    for result in results:
        show_plan(result, out)
    show_plans([*results, trial_plan(made_space())], out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("dollars") == (1 if dollars is None else 5)  # the sum's column; two in each bill
    assert json.loads(json.dumps(results[0].to_json()))["pricing"]["bill"]["num_trials"] == 11


def test_controls_are_counted_and_priced_and_change_no_other_number() -> None:
    six = made_space().strategies
    space, more = made_space(), made_space(strategies=[*six, "few_shot", "gold_context", "gold_context_generator"])
    before, after = trial_plan(space), trial_plan(more)
    assert (after.num_trials, after.num_trials_unshared) == (before.num_trials, before.num_trials_unshared)
    assert after.num_answerings_at_most == before.num_answerings_at_most + 6
    added = {row.strategy: row.num_trials_added for row in after.strategies}
    assert {row.strategy: row.num_trials_added for row in before.strategies}.items() <= added.items()
    assert [added[name] for name in more.strategies[6:]] == [0, 0, 0]
    units = replace(UNITS, example_seconds=0.5)
    bills = make_estimate(space, units, SIZES), make_estimate(more, units, SIZES)
    extra = bills[1].answering_device_seconds.high - bills[0].answering_device_seconds.high
    assert extra == pytest.approx(3 * (40 + 100) * 0.25 + (40 + 100) * 0.5)
    assert bills[1].answering_device_seconds.low - bills[0].answering_device_seconds.low < extra
    assert bills[1].training_device_seconds == bills[0].training_device_seconds
