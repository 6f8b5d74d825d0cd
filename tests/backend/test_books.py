"""The books of sessions whose driver was killed: what it had not written is found in what its trials left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from raggrid.backend.ray.search import _budget_clock, _close_books_of_killed_session
from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import CurveRecord, LedgerRecord, Report, Status, TrainingProgress, TrialRecord
from raggrid.store.run_directory import RunDirectory
from raggrid.store.run_layout import state
from raggrid.store.sessions import open_session, session
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.rows import curve_row
from raggrid.study.tasks import Task, to_running
from tests.controllers import continued, new_controller, outcome, run_of
from tests.records import made_space

SLOTS = 2


def killed(
    run: Path, began: float, alive: float, *running: Mapping[str, object], held: Mapping[str, float] | None = None
) -> None:
    """What a driver leaves that was killed at ``alive``; ``held``: as its sign of life then says, if it does."""
    times = iter([began, alive])
    with pytest.raises(KeyboardInterrupt), session(run, SLOTS, 1, now=lambda: next(times, alive)):
        raise KeyboardInterrupt
    file = run / ".session.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "alive": alive, "running": running, "held": held or {}})
    )


def rung_state(run: Path, key: str, progress: TrainingProgress) -> None:
    """A trial's checkpoint at its rung."""
    file = run / state(key)
    file.parent.mkdir(parents=True)
    file.write_bytes(save({"weight": np.ones(2)}, metadata={"progress": json.dumps(asdict(progress))}))


def batched(run: Path, **resources: float) -> tuple[Controller, VirtualClock]:
    """A session as a search runs it: rows wait for their batch."""
    first, watch = new_controller(run, made_space(strategies=["generator"], resources=resources)), VirtualClock()
    controller = Controller(first.state, RunDirectory(run, delay_seconds=3600.0), 0, now=watch)
    controller.state.indexed = True
    controller.open_books(0.0, SLOTS)
    return controller, watch


def bill(run: Path) -> float:
    return sum(row.device_seconds for row in read(run, LedgerRecord))


def test_a_driver_killed_after_its_last_answer_leaves_no_idle_time_unbilled(tmp_path: Path) -> None:
    controller, watch = batched(tmp_path / "r")
    while task := controller.take():
        watch.seconds += 20.0
        controller.reported(task.key, outcome(task))
        controller.finished(task.key)
    controller.books.flush()
    killed(tmp_path / "r", 0.0, watch.seconds + 5.0)
    later = continued(controller)
    assert later.state.is_done()
    _close_books_of_killed_session(later.state, RunDirectory(run_of(later)))
    assert bill(tmp_path / "r") == pytest.approx(SLOTS * (watch.seconds + 5.0))
    assert open_session(tmp_path / "r") is None


def first_trial(controller: Controller) -> Task:
    """The first task that trains; all before it are done."""
    while (task := controller.take()) and not hasattr(task, "trial_id"):
        controller.reported(task.key, outcome(task))
        controller.finished(task.key)
    assert task
    return task


def test_a_killed_session_of_trials_that_shared_a_gpu_held_their_shares(tmp_path: Path) -> None:
    controller, watch = batched(tmp_path / "r", gpus_per_worker=0.5)
    watch.seconds = 10.0
    controller.reported(first_trial(controller).key, Report(status=Status.RUNNING, step=8, objective=2.0))
    controller.books.flush()
    killed(tmp_path / "r", 0.0, 100.0)
    later = continued(controller)
    dead = open_session(tmp_path / "r")
    assert dead
    clock = _budget_clock(later, dead)
    assert (clock.devices, clock.per_trial) == (1.0, 0.5)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    assert bill(tmp_path / "r") == pytest.approx(0.5 * SLOTS * 100.0)
    assert _budget_clock(later, dead).used_wall_seconds == pytest.approx(100.0)


@pytest.mark.parametrize("held", [{}, {"cpu": SLOTS * 50.0}])
def test_what_a_killed_driver_had_not_written_is_in_the_states_of_its_trials(
    tmp_path: Path, held: Mapping[str, float]
) -> None:
    """Of two rungs that a trial told of nothing was written; it saved at 40 s, and the driver lived until 50."""
    controller, watch = batched(tmp_path / "r")
    task = first_trial(controller)
    controller.books.flush()
    curve = []
    for serial, step in enumerate((0, 8, 16)):
        watch.seconds += 10.0
        told = Report(
            status=Status.RUNNING, step=step, objective=3.0 - step / 10 if step else None, train_seconds=float(step),
            process="p", serial=serial, up_seconds=10.0 * serial,
        )  # fmt: skip
        controller.reported(task.key, told)
        curve += [row for row in [curve_row(task.key, told)] if row]
    progress = TrainingProgress(step=16, train_seconds=24.0, saved_at=40.0, curve=tuple(curve))
    metadata = {"progress": json.dumps(asdict(progress))}
    file = tmp_path / "r" / state(task.key)
    file.parent.mkdir(parents=True)
    file.write_bytes(save({"weight": np.ones(2)}, metadata=metadata))
    assert read(tmp_path / "r", CurveRecord) == []
    killed(tmp_path / "r", 0.0, 50.0, to_running(task, 0.0, 0.0), held=held)

    later = continued(controller)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    assert read(tmp_path / "r", CurveRecord) == curve
    assert later.state.facts.measured[task.key] == {8: 2.2, 16: 1.4}
    own = {str(row.category): row.device_seconds for row in read(tmp_path / "r", LedgerRecord) if row.trial_id}
    assert own == pytest.approx({"train": 24.0, "lost": 10.0})
    assert bill(tmp_path / "r") == pytest.approx(SLOTS * 50.0)


def test_a_trial_that_ended_with_its_budget_loses_nothing_when_the_driver_is_killed_later(tmp_path: Path) -> None:
    controller, watch = batched(tmp_path / "r")
    task = first_trial(controller)
    watch.seconds = 10.0
    controller.reported(task.key, Report(status=Status.RUNNING, step=8, objective=2.0, train_seconds=8.0))
    controller.finished(task.key, stop_reason=Status.OVER_BUDGET)
    controller.books.flush()
    progress = TrainingProgress(step=8, train_seconds=8.0, saved_at=10.0)
    file = tmp_path / "r" / state(task.key)
    file.parent.mkdir(parents=True)
    file.write_bytes(save({"weight": np.ones(2)}, metadata={"progress": json.dumps(asdict(progress))}))
    killed(tmp_path / "r", 0.0, 100.0)
    later = continued(controller)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    rows = read(tmp_path / "r", LedgerRecord)
    assert not [row for row in rows if row.category == "lost"]
    assert bill(tmp_path / "r") == pytest.approx(SLOTS * 100.0)
    assert replace(read(tmp_path / "r", TrialRecord)[0]).status == "over_budget"


def test_a_trial_that_goes_on_from_a_rung_loses_what_it_did_since_it_was_handed_out(tmp_path: Path) -> None:
    """It waited at its rung from 10 s to 30 s; the driver was killed at 50, before the trial saved again."""
    controller, watch = batched(tmp_path / "r")
    task = first_trial(controller)
    watch.seconds = 10.0
    report = Report(status=Status.PAUSED, step=8, objective=2.0, train_seconds=8.0)
    controller.reported(task.key, report)
    controller.finished(task.key)
    controller.books.flush()
    progress = TrainingProgress(step=8, train_seconds=8.0, saved_at=10.0, paused=True)
    file = tmp_path / "r" / state(task.key)
    file.parent.mkdir(parents=True)
    file.write_bytes(save({"weight": np.ones(2)}, metadata={"progress": json.dumps(asdict(progress))}))
    killed(tmp_path / "r", 0.0, 50.0, to_running(task, 30.0, 30.0))
    later = continued(controller)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    own = {str(row.category): row.device_seconds for row in read(tmp_path / "r", LedgerRecord) if row.trial_id}
    assert own["train"] == pytest.approx(8.0)
    assert own["lost"] == pytest.approx(20.0)
    assert bill(tmp_path / "r") == pytest.approx(SLOTS * 50.0)


@pytest.mark.parametrize("paused", [True, False])
def test_a_trial_that_waited_for_devices_when_its_driver_was_killed_is_charged_nothing_for_that(
    tmp_path: Path, paused: bool
) -> None:
    """It saved at 10 s, was handed out again at 30 s, and others held all devices until the kill at 50 s."""
    controller, watch = batched(tmp_path / "r")
    task = first_trial(controller)
    others = [controller.take() for _ in range(SLOTS)]  # the second has the devices that the trial lets go of
    watch.seconds = 10.0
    status = Status.PAUSED if paused else Status.RUNNING
    controller.reported(task.key, Report(status=status, step=8, objective=2.0, train_seconds=8.0, process="p"))
    controller.finished(task.key, crashed=not paused)
    controller.books.flush()
    rung_state(tmp_path / "r", task.key, TrainingProgress(step=8, train_seconds=8.0, saved_at=10.0, paused=paused))
    charged = bill(tmp_path / "r")
    watch.seconds = 30.0
    controller.books.started(task, 0, "cpu")
    ledger = controller.books.ledger
    assert [ledger.held_since(each.key) for each in others if each] == [0.0, 10.0]
    assert ledger.held_since(task.key) is None
    killed(tmp_path / "r", 0.0, 50.0, to_running(task, 30.0, ledger.held_since(task.key)))
    file = tmp_path / "r" / ".session.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "slots": SLOTS}))
    later = continued(controller)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    own = sum(row.device_seconds for row in read(tmp_path / "r", LedgerRecord) if row.trial_id == task.key)
    assert own == pytest.approx(charged)
    assert bill(tmp_path / "r") == pytest.approx(SLOTS * 50.0)
