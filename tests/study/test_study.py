"""The study's state and controller with made-up outcomes in place of training: order, sharing, costs, failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ray.tune.utils import flatten_dict

from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import LedgerRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.space.rates import middle_out, rungs
from raggrid.space.tuning import EarlyStopping
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.state import StudyState
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask, Task, from_config, from_metrics, to_config, to_metrics
from raggrid.worker.opening import restored_from
from tests.controllers import EVALUATE, TRAIN, carry_out, new_controller, outcome
from tests.records import ANSWERS, STEP, made_space


def test_every_search_runs_once_after_those_it_depends_on(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    order = carry_out(controller)
    assert isinstance(order[0], IndexTask)
    searches = [task.search for task in order if isinstance(task, PhaseTask)]
    assert sorted(searches) == sorted(
        ["embedder_labels"] * 3
        + ["generator_rag/rag_token"] * 3
        + ["embedder_rag/rag_token"] * 3
        + ["joint_rag/rag_token", "joint_rag/rag_sequence"]
    )
    last, first = (
        len(searches) - 1 - searches[::-1].index("generator_rag/rag_token"),
        searches.index("embedder_rag/rag_token"),
    )
    assert last < first
    assert searches[-2:] == ["joint_rag/rag_token", "joint_rag/rag_sequence"]


def test_the_pair_of_two_phase_becomes_the_rates_of_joint(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    order = carry_out(controller)
    joint = [task.run for task in order if isinstance(task, PhaseTask) and task.run.phase == "joint_rag"]
    assert {(run.embedder_lr, run.generator_lr) for run in joint} == {(1e-5, 3e-4)}
    upstream = {
        task.run.upstream_trial_id for task in order if isinstance(task, PhaseTask) and "embedder_rag" in task.search
    }
    best = next(row.trial_id for row in read(tmp_path / "r", TrialRecord) if row.generator_lr == 3e-4)
    assert upstream == {best}


def test_the_three_costs_are_the_sums_that_they_claim_to_be(tmp_path: Path) -> None:
    carry_out(new_controller(tmp_path / "r", made_space()))
    rows = {(row.strategy, row.loss): row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"}
    each = TRAIN + EVALUATE
    expected = {  # final: the chosen trials' training; search: all its trials; marginal: those that no other needs
        ("baseline", None): (0, 0, 0),
        ("embedder", "mnr"): (TRAIN, 3 * each, 0),
        ("generator", "rag_token"): (TRAIN, 3 * each, 0),
        ("independent", "rag_token"): (2 * TRAIN, 6 * each, 0),
        ("two_phase", "rag_token"): (2 * TRAIN, 6 * each, 0),
        ("joint", "rag_token"): (TRAIN, 7 * each, each),
        ("joint", "rag_sequence"): (TRAIN, 7 * each, each),
    }
    got = {
        key: (row.final_device_seconds, row.search_device_seconds, row.marginal_device_seconds)
        for key, row in rows.items()
    }
    assert got == expected


def test_without_its_neighbours_a_strategy_bears_its_search_alone(tmp_path: Path) -> None:
    carry_out(new_controller(tmp_path / "r", made_space(strategies=["two_phase"])))
    row = next(row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test")
    assert row.search_device_seconds == row.marginal_device_seconds == 6 * (TRAIN + EVALUATE)


def test_full_joint_grid_waits_for_nobody(tmp_path: Path) -> None:
    rates = {**made_space().learning_rates.model_dump(), "joint": "grid"}
    controller = new_controller(tmp_path / "r", made_space(strategies=["joint"], learning_rates=rates))
    assert sum(isinstance(task, PhaseTask) for task in carry_out(controller)) == 2 * 9


def test_a_search_whose_trials_all_fail_ends_what_hangs_on_it_and_no_more(tmp_path: Path) -> None:
    def fails(task: Task) -> Report:
        broken = isinstance(task, PhaseTask) and task.run.phase == "generator_rag"
        return replace(outcome(task), status=Status.FAILED, error="boom") if broken else outcome(task)

    controller = new_controller(tmp_path / "r", made_space())
    order = carry_out(controller, fails)
    assert {task.search for task in order if isinstance(task, PhaseTask)} == {
        "embedder_labels",
        "generator_rag/rag_token",
    }
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == {"baseline", "embedder"}
    assert {row.error for row in read(tmp_path / "r", TrialRecord) if row.status == "failed"} == {"boom"}


def test_an_answer_whose_process_died_is_given_after_all(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    died = set()
    while task := controller.take():
        if task.key not in died and not isinstance(task, PhaseTask):
            died.add(task.key)
            controller.finished(task.key, crashed=True)
            continue
        controller.reported(task.key, outcome(task))
        controller.finished(task.key)
    assert controller.state.is_done()
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == set(made_space().strategies)


def test_any_metric_of_answers_can_pick_the_winners(tmp_path: Path) -> None:
    def answers(task: Task) -> Report:
        generator = controller.state.trials.get(getattr(task, "generator_trial_id", None) or "")
        best = generator is not None and generator.generator_lr == 1e-4
        report = outcome(task)
        return replace(report, scores={**report.scores, "rouge_l": float(best)}) if report.scores else report

    won = {}
    for metric in ("f1", "rouge_l"):
        space = made_space(strategies=["generator"], selection={"metric": metric, "finalists": 3})
        controller = new_controller(tmp_path / metric, space)
        carry_out(controller, answers)
        tested = [row for row in read(tmp_path / metric, PipelineRecord) if row.split == "test"]
        won[metric] = {row.generator_lr for row in tested}
    assert won == {"f1": {3e-4}, "rouge_l": {1e-4}}


def test_stopped_trials_are_no_finalists(tmp_path: Path) -> None:
    def stops(task: Task) -> Report:
        early = isinstance(task, PhaseTask) and task.run.generator_lr == 3e-4 and task.run.phase == "generator_rag"
        return replace(outcome(task), status=Status.RUNNING, step=8) if early else outcome(task)

    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"]))
    carry_out(controller, stops)
    rows = {row.generator_lr: row for row in read(tmp_path / "r", TrialRecord)}
    assert (rows[3e-4].status, rows[3e-4].steps) == ("stopped", 8)
    chosen = {row.generator_lr for row in read(tmp_path / "r", PipelineRecord)}
    assert chosen == {1e-4, 1e-3}


def test_the_state_is_a_function_of_the_records(tmp_path: Path) -> None:
    """A study cut anywhere and continued from its records does the rest, and only the rest."""
    whole = [task.key for task in carry_out(new_controller(tmp_path / "whole", made_space()))]
    for cut in range(1, len(whole), 5):
        run = tmp_path / f"cut{cut}"
        first = new_controller(run, made_space())
        for _ in range(cut):
            task = first.take()
            assert task is not None
            first.reported(task.key, outcome(task))
            first.finished(task.key)
        storage = RunDirectory(run)
        state = restored_from(storage, StudyState(first.state.space, first.state.graph, "key", first.state.splits))
        state.indexed = True
        rest = [task.key for task in carry_out(Controller(state, storage, 0))]
        assert sorted(rest) == sorted(whole[cut:])


def test_tasks_and_reports_survive_ray_as_plain_data_whatever_it_adds(tmp_path: Path) -> None:
    for task in carry_out(new_controller(tmp_path / "r", made_space())):
        given = Dispatch(task=task, run_dir="run", workers=1, lease="l")
        assert from_config(json.loads(json.dumps({**to_config(given), "cpus": 1}))) == given
        report = replace(outcome(task), rung=2, attempts=3, device_type="A100", error="no", rows=(STEP, *ANSWERS))
        plain = to_metrics(report)
        assert type(plain["status"]) is str
        assert flatten_dict(plain) == plain  # as Tune does with it
        assert from_metrics({**json.loads(json.dumps(plain)), "done": True, "trial_id": "0"}) == report
    assert from_metrics({"done": True, "trial_id": "0"}) is None


def test_idle_time_closes_the_ledger(tmp_path: Path) -> None:
    controller, watch = new_controller(tmp_path / "r", made_space()), VirtualClock()
    controller.now = watch
    controller.open_books(0.0, 2)
    while task := controller.take():
        watch.seconds += 11.0
        controller.reported(task.key, outcome(task))
        controller.finished(task.key)
    controller.close_books()
    rows = read(tmp_path / "r", LedgerRecord)
    assert sum(row.device_seconds for row in rows) == pytest.approx(2 * watch.seconds)
    trials = read(tmp_path / "r", TrialRecord)
    assert {row.wall_seconds for row in trials} == {11.0}
    assert sum(row.device_seconds for row in rows if row.category == "train") == TRAIN * len(trials)


def test_rungs_and_order_of_the_grid() -> None:
    assert rungs(24, EarlyStopping(min_fraction=1 / 3)) == (8,)
    assert rungs(9, EarlyStopping(min_fraction=0.34, reduction_factor=2)) == (3, 6)
    assert rungs(1, EarlyStopping(min_fraction=1 / 3)) == ()
    assert middle_out([3, 1, 2]) == (2, 1, 3)
