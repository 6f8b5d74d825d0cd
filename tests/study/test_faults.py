"""Faults of machines: tried again, counted by node, never a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.backend.ray.searcher import StudySearcher
from raggrid.machine_faults import FaultRecord
from raggrid.records import PipelineRecord, Report, Status, TrialRecord
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.events import Event, TaskFaulted
from raggrid.study.faults import Consequence, Faults
from raggrid.study.state import StudyState
from raggrid.study.tasks import PhaseTask, Task, to_metrics
from raggrid.worker.opening import restored_from
from tests.controllers import continued, finish, new_controller, outcome, play, results_of, run_of
from tests.records import made_space

NODES = {"a": "east (10.0.0.1)", "b": "west (10.0.0.2)"}
BROKEN = Report(status=Status.FAULTED, error="Traceback\nOSError: [Errno 5] Input/output error")


def begun_on(controller: Controller, node: str) -> Task:
    task = controller.take()
    assert task
    controller.reported(task.key, Report(status=Status.BEGUN, node=node))
    return task


def die(controller: Controller, node: str = "a") -> Task:
    """The next task begins on a node, and its process dies."""
    task = begun_on(controller, node)
    controller.finished(task.key, crashed=True)
    return task


def training(run: Path, **changes: object) -> Controller:
    controller = new_controller(run, made_space(strategies=["generator"], **changes))
    controller.state.indexed = True
    return controller


def test_a_task_that_no_process_has_begun_is_given_back_for_free_as_often_as_idle_processes_can_die(
    tmp_path: Path,
) -> None:
    controller = training(tmp_path / "r")
    controller.faults.idle_processes = 7
    for _ in range(7):
        task = controller.take()
        assert task
        controller.finished(task.key, crashed=True)
    assert not read(tmp_path / "r", FaultRecord)
    die(controller)  # begun at last: it may draw dead processes again
    for _ in range(7):
        task = controller.take()
        assert task
        controller.finished(task.key, crashed=True)
    assert len(read(tmp_path / "r", FaultRecord)) == 1
    play(controller)
    assert {row.status for row in read(tmp_path / "r", TrialRecord)} == {"completed"}


def test_a_task_whose_processes_die_before_they_begin_anything_is_not_tried_for_ever(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.faults.idle_processes = 2
    tries = 0
    while task := controller.take():
        tries += 1
        controller.finished(task.key, crashed=True)
    assert tries == 2 + 3
    assert controller.state.given_up.keys() == {"index"}


def test_the_second_end_of_a_dead_process_does_not_end_its_tasks_next_trial(tmp_path: Path) -> None:
    controller = training(tmp_path / "r", learning_rates={"generator": [3e-4]})
    searcher = StudySearcher(controller, "r", {})
    searcher.suggest("first")
    searcher.on_trial_result("first", to_metrics(Report(status=Status.BEGUN, node="a")))
    searcher.on_trial_complete("first", error=True)
    assert isinstance(searcher.suggest("second"), dict)
    searcher.on_trial_complete("first", error=True)
    assert len(controller.state.running) == 1
    searcher.on_trial_complete("second", to_metrics(replace(outcome(next(iter(controller.state.running.values()))))))
    assert {row.status for row in read(tmp_path / "r", TrialRecord)} == {"completed"}


def test_a_trial_that_machines_fail_has_no_record_and_the_same_command_runs_it(tmp_path: Path) -> None:
    controller, straight = training(tmp_path / "r"), training(tmp_path / "straight")
    victim = die(controller)
    for _ in range(2):
        assert die(controller).key == victim.key  # before all others
    play(controller)
    assert controller.state.given_up.keys() == {victim.key}
    assert victim.key not in {row.trial_id for row in read(tmp_path / "r", TrialRecord)}
    assert read(tmp_path / "r", PipelineRecord) == []  # no winner is picked without it
    assert [row.consequence for row in read(tmp_path / "r", FaultRecord)] == ["retried", "retried", "given_up"]
    more = [task.key for task in play(continued(controller))]
    assert victim.key in more
    play(straight)
    assert results_of(run_of(controller)) == results_of(run_of(straight))


def test_errors_of_a_storage_are_faults_and_those_of_a_model_results(tmp_path: Path) -> None:
    controller = training(tmp_path / "r")
    first = begun_on(controller, "a")
    controller.reported(first.key, BROKEN)
    controller.finished(first.key)
    again = begun_on(controller, "a")
    assert again.key == first.key
    controller.reported(again.key, Report(status=Status.FAILED, error="ValueError: no"))
    controller.finished(again.key)
    play(controller)
    rows = {row.trial_id: row.status for row in read(tmp_path / "r", TrialRecord)}
    assert rows[first.key] == "failed"
    fault = read(tmp_path / "r", FaultRecord)[0]
    assert (fault.task, fault.error) == (first.key, "OSError: [Errno 5] Input/output error")


def test_a_node_that_fails_three_tasks_in_a_row_is_excluded_and_named(tmp_path: Path) -> None:
    told: list[Event] = []
    controller = training(tmp_path / "r")
    controller.working, controller.observers = lambda: NODES, [told.append]
    tasks = [begun_on(controller, "a") for _ in range(3)]
    for task in tasks:
        controller.reported(task.key, BROKEN)
        controller.finished(task.key)
    assert controller.faults.avoided("anything") == {"a"}
    rows = read(tmp_path / "r", FaultRecord)
    assert [row.consequence for row in rows] == ["retried", "retried", "node_excluded"]
    assert rows[-1].node == "east (10.0.0.1)"
    assert [event.fault for event in told if isinstance(event, TaskFaulted)] == rows
    searcher = StudySearcher(controller, "r", {})
    given = searcher.suggest("t")
    assert isinstance(given, dict)
    assert given["avoided"] == ["a"]


def test_the_last_node_ends_the_study_with_its_reason(tmp_path: Path) -> None:
    controller = training(tmp_path / "r")
    controller.working = lambda: {"a": NODES["a"]}
    for task in [begun_on(controller, "a") for _ in range(3)]:
        controller.reported(task.key, BROKEN)
        controller.finished(task.key)
    assert controller.broken == (
        "east (10.0.0.1) failed several tasks in a row, and there is no other: OSError: [Errno 5] Input/output error"
    )
    assert controller.take() is None
    assert controller.is_done()


def test_what_goes_well_ends_a_row_of_faults() -> None:
    faults = Faults()
    for _ in range(4):
        assert faults.count("one", "a", NODES) == Consequence.RETRIED
        assert faults.count("two", "a", NODES) == Consequence.RETRIED
        faults.went_well("one", "a")
        faults.went_well("two", "a")
    assert not faults.excluded


def test_a_task_stays_off_a_node_that_failed_it_three_times_and_is_given_up_where_all_did() -> None:
    faults = Faults()
    assert [faults.count("t", "a", NODES) for _ in range(3)] == [Consequence.RETRIED] * 3
    assert faults.avoided("t") == {"a"}
    assert not faults.avoided("other")
    assert [faults.count("t", "b", NODES) for _ in range(3)] == [Consequence.RETRIED] * 2 + [Consequence.GIVEN_UP]


def test_a_task_whose_processes_die_on_nodes_that_nobody_knows_is_given_up() -> None:
    """They died before they could say where they are."""
    faults = Faults()
    limit = 3 * len(NODES)
    told = [faults.count("t", "", NODES) for _ in range(limit)]
    assert told == [Consequence.RETRIED] * (limit - 1) + [Consequence.GIVEN_UP]


@pytest.mark.parametrize("losses", [1, 20])
def test_nodes_that_are_lost_never_use_up_a_task(losses: int) -> None:
    faults = Faults()
    for number in range(losses):
        assert faults.count("t", f"spot{number}", NODES) == Consequence.RETRIED
    assert not faults.excluded


def test_a_trial_that_waits_for_a_rung_keeps_the_others_waiting_when_it_is_given_up(tmp_path: Path) -> None:
    space = {"early_stopping": {"rungs": "synchronous", "reduction_factor": 2}}
    controller = training(tmp_path / "r", **space)
    for _ in range(3):
        die(controller)
    while task := controller.take():
        finish(controller, task)
    assert controller.is_done()
    assert not controller.state.trials
    play(continued(controller))
    assert read(tmp_path / "r", PipelineRecord)


def test_failed_trials_run_again_only_if_that_is_asked_for(tmp_path: Path) -> None:
    controller = training(tmp_path / "r")
    first = begun_on(controller, "a")
    controller.reported(first.key, Report(status=Status.FAILED, error="ValueError: no"))
    controller.finished(first.key)
    play(controller)
    fresh = StudyState(controller.state.space, controller.state.graph, "key", controller.state.splits)
    assert not play(continued(controller))
    again = Controller(restored_from(RunDirectory(tmp_path / "r"), fresh, retry_failed=True), controller.records, 0)
    assert [task.key for task in play(again) if isinstance(task, PhaseTask)] == [first.key]
    assert {row.status for row in read(tmp_path / "r", TrialRecord)} == {"completed"}


def test_a_run_directory_that_cannot_be_written_ends_the_study_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = training(tmp_path / "r")
    task = begun_on(controller, "a")

    def fails(rows: object) -> None:
        raise TimeoutError("When completing multipart upload: timed out")

    monkeypatch.setattr(controller.records, "append", fails)
    controller.reported(task.key, outcome(task))
    controller.finished(task.key)
    assert controller.broken == "When completing multipart upload: timed out"
    assert controller.is_done()
    monkeypatch.undo()
    assert task.key in {each.key for each in play(continued(controller))}


def test_a_lost_node_is_named(tmp_path: Path) -> None:
    controller = training(tmp_path / "r")
    controller.working = lambda: NODES
    task = begun_on(controller, "a")
    controller.working = lambda: {"b": NODES["b"]}
    controller.finished(task.key, crashed=True)
    fault = read(tmp_path / "r", FaultRecord)[0]
    assert (fault.node, fault.consequence) == (NODES["a"], "retried")


def test_a_trial_that_dies_as_it_is_stopped_is_stopped(tmp_path: Path) -> None:
    controller = training(tmp_path / "r")
    task = begun_on(controller, "a")
    controller.reported(task.key, Report(status=Status.RUNNING, step=8, objective=2.0))
    controller.finished(task.key, crashed=True, stop_reason=Status.STOPPED)
    assert [row.status for row in read(tmp_path / "r", TrialRecord)] == ["stopped"]
