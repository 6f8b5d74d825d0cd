"""Budgets: when they end training, when they end all, what is answered in between."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import PipelineRecord, Report, Status, TrialRecord
from raggrid.space.settings import Budget
from raggrid.store.tables import read
from raggrid.study.budget import BudgetClock, Closing
from raggrid.study.tasks import AnswerTask, PhaseTask
from tests.controllers import continued, finish, new_controller, play
from tests.records import made_space


def test_limits_become_one_end_in_wall_time() -> None:
    clock = BudgetClock(Budget(device_hours=1, wall_hours=1), 4, 0.0, VirtualClock(), used_device_seconds=1200.0)
    assert clock.limit_seconds() == 600.0
    dear = BudgetClock(Budget(dollars=3), 2, 0.0, VirtualClock(), dollars_per_hour=3.0)
    assert dear.limit_seconds() == 3600.0
    assert math.isinf(BudgetClock(Budget(), 2, 0.0, VirtualClock()).limit_seconds())


def test_other_devices_count_from_when_they_are_held() -> None:
    now = VirtualClock()
    clock = BudgetClock(Budget(dollars=8), 1, 0.0, now, dollars_per_hour=4.0)
    now.seconds = 3600.0
    clock.hold(3, 8.0)
    assert (clock.used_dollars, clock.used_device_seconds, clock.used_wall_seconds) == (4.0, 3600.0, 3600.0)
    assert clock.limit_seconds() == 1800.0
    assert clock.closes(1) == "nothing"
    now.seconds += 1800.0
    assert clock.closes(1) == "all"


def test_training_ends_before_the_budget_so_that_answers_fit_in() -> None:
    now = VirtualClock()
    clock = BudgetClock(Budget(wall_hours=1, reserve=0.1), 2, 0.0, now)
    asked = {}
    for minute in (53, 55, 61):
        now.seconds = 60.0 * minute
        asked[minute] = clock.closes(num_answers=4)
    assert asked == {53: "nothing", 55: "training", 61: "all"}
    clock.answer_seconds = [300.0]
    now.seconds = 60.0 * 41
    assert clock.closes(num_answers=8) == "training"  # eight answerings by two take 20 minutes
    now.seconds = 60.0 * 21
    assert clock.closes(num_answers=8) == "nothing"
    clock.per_trial = 2.0  # a pipeline is answered by one device of a trial's two: the eight take 40 minutes
    assert clock.closes(num_answers=8) == "training"


def test_a_used_up_budget_stops_training_and_answers_what_is_finished(tmp_path: Path) -> None:
    now = VirtualClock()
    controller = new_controller(tmp_path / "r", made_space())
    controller.clock = BudgetClock(Budget(wall_hours=1), 1, 0.0, now)
    order = play(controller, cut=7)  # the index, the un-tuned pipeline's answers, and five trials
    running = controller.take()
    assert isinstance(running, PhaseTask)
    now.seconds = 3300.0
    assert controller.closes()
    controller.reported(running.key, Report(status=Status.RUNNING, step=8, objective=2.0, train_seconds=8.0))
    controller.finished(running.key, stop_reason=Status.OVER_BUDGET)
    rest = play(controller)
    assert not any(isinstance(task, PhaseTask) for task in rest)
    assert {row.status for row in read(tmp_path / "r", TrialRecord)} == {"completed", "over_budget"}
    answered = {row.strategy for row in read(tmp_path / "r", PipelineRecord)}
    assert {"baseline", "generator"} <= answered
    assert "joint" not in answered
    # With more money the trial goes on, and nothing that is finished runs again.
    more = play(continued(controller))
    assert running.key in {task.key for task in more}
    assert not {task.key for task in order} & {task.key for task in more}
    assert "joint" in {row.strategy for row in read(tmp_path / "r", PipelineRecord)}


def test_at_the_end_of_the_budget_nothing_is_started(tmp_path: Path) -> None:
    now = VirtualClock()
    controller = new_controller(tmp_path / "r", made_space())
    controller.clock = BudgetClock(Budget(wall_hours=1), 1, 0.0, now)
    play(controller, cut=5)
    now.seconds = 3601.0
    assert controller.take() is None
    assert controller.is_done()


def test_one_slow_answer_does_not_end_the_training_of_a_study_with_time_left(tmp_path: Path) -> None:
    """The first answer loads libraries and models; the budget closes on its account, and opens again after the next."""
    watch, slow = VirtualClock(), 300.0
    controller = new_controller(tmp_path / "r", made_space())
    controller.now = watch
    controller.clock = BudgetClock(Budget(wall_hours=1, reserve=0.1), 1, 0.0, watch)
    while task := controller.take():
        watch.seconds += 60.0
        if isinstance(task, AnswerTask):
            watch.seconds, slow = watch.seconds - 40.0 + slow, 0.0
        finish(controller, task)
    assert watch.seconds < 3600
    assert {row.strategy for row in controller.state.answered.values() if row.split == "test"} == {
        plan.strategy for plan in controller.state.graph.pipelines
    }


def test_only_what_the_study_ends_with_counts_as_still_to_be_answered(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator", "two_phase"], seeds=[0, 1]))
    left = [controller.state.answers_left]
    while task := controller.take():
        finish(controller, task)
        left.append(controller.state.answers_left)
    assert left[0] == 2 * 2 * 2
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0


@pytest.mark.parametrize("closing", [Closing.NOTHING, Closing.TRAINING])
def test_an_answering_that_dies_while_a_budget_reopens_is_given_again(tmp_path: Path, closing: Closing) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"]))
    died = 0
    while task := controller.take():
        if isinstance(task, AnswerTask) and task.split == "test" and not died:
            died = 1
            for what in (Closing.TRAINING, closing):
                controller.state.close(what)
                assert not controller.is_done()
            controller.reported(task.key, Report(status=Status.BEGUN, node="a"))
            controller.finished(task.key, crashed=True)
            controller.state.close(Closing.NOTHING)
        else:
            finish(controller, task)
    assert died
    assert {row.split for row in controller.state.answered.values()} == {"validation", "test"}
