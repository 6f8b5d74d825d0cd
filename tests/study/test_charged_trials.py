"""What a study charges for trials whose processes die, wait, share a device or start again."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import CurveRecord, LedgerRecord, Report, Status, TrainingProgress, TrialRecord
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.study.tasks import PhaseTask
from raggrid.worker import run_task
from tests.controllers import new_controller
from tests.records import made_space

AT_RUNG = Report(status=Status.RUNNING, step=8, objective=2.0)


def test_a_trial_that_is_given_up_has_no_record_and_what_it_held_is_charged_once(tmp_path: Path) -> None:
    """Three times its process trains for 100 s and dies; before the first death it told of 80 s of training."""
    watch, run = VirtualClock(), tmp_path / "r"
    controller = new_controller(run, made_space(strategies=["generator"], learning_rates={"generator": [3e-4]}))
    controller.now, controller.state.indexed = watch, True
    controller.open_books(0.0, 1)
    for death in range(4):
        task = controller.take()
        assert task
        begun = Report(status=Status.RUNNING, process=f"p{death}", serial=1, up_seconds=0.0)
        controller.reported(task.key, begun)
        watch.seconds += 85.0
        if death == 0:
            told = replace(AT_RUNG, train_seconds=80.0, evaluate_seconds=5.0, process="p0", serial=2, up_seconds=85.0)
            for _ in range(3):  # as Tune does
                controller.reported(task.key, told)
        watch.seconds += 15.0
        controller.finished(task.key, crashed=True)
        if controller.state.given_up:
            break
    assert controller.take() is None
    controller.close_books()
    assert read(run, TrialRecord) == []
    rows = read(run, LedgerRecord)
    assert sum(entry.device_seconds for entry in rows) == watch.seconds
    assert sum(entry.device_seconds for entry in rows if entry.category == "lost") == watch.seconds - 85.0


def test_trials_that_share_a_gpu_are_charged_their_share_of_it(tmp_path: Path) -> None:
    """Four hold a quarter each of one GPU for 100 s; one of them trains for 80 s and measures for 5."""
    watch, run = VirtualClock(), tmp_path / "r"
    space = made_space(strategies=["generator"], resources={"gpus_per_worker": 0.25})
    controller = new_controller(run, space)
    controller.now, controller.state.indexed = watch, True
    controller.open_books(0.0, 4)
    while not isinstance(task := controller.take(), PhaseTask):
        assert task
    watch.seconds = 100.0
    told = replace(
        AT_RUNG, status=Status.COMPLETED, train_seconds=80.0, evaluate_seconds=5.0, process="p", up_seconds=90.0
    )
    controller.reported(task.key, told)
    controller.finished(task.key)
    controller.close_books()
    rows = read(run, LedgerRecord)
    assert sum(entry.device_seconds for entry in rows) == pytest.approx(100.0)
    assert {str(entry.category): entry.device_seconds for entry in rows if entry.trial_id == task.key} == {
        "startup": 2.5, "train": 20.0, "evaluate": 1.25,
    }  # fmt: skip
    (row,) = read(run, TrialRecord)
    assert (row.train_device_seconds, row.evaluate_device_seconds, row.num_workers) == (20.0, 1.25, 1)
    assert [entry.device_seconds for entry in read(run, CurveRecord)] == [20.0]


def test_a_task_that_no_process_began_goes_back_free_of_charge(tmp_path: Path) -> None:
    watch, run = VirtualClock(), tmp_path / "r"
    controller = new_controller(run, made_space(strategies=["generator"]))
    controller.now, controller.state.indexed = watch, True
    controller.open_books(0.0, 1)
    controller.faults.idle_processes = 1
    task = controller.take()
    assert task
    watch.seconds += 30.0
    controller.finished(task.key, crashed=True)
    controller.close_books()
    assert [(str(row.category), row.device_seconds) for row in read(run, LedgerRecord)] == [("idle", 30.0)]


def test_what_a_trial_had_saved_when_its_machine_failed_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, run = VirtualClock(), tmp_path / "r"
    controller = new_controller(run, made_space(strategies=["generator"], learning_rates={"generator": [3e-4]}))
    controller.now, controller.state.indexed = watch, True
    controller.open_books(0.0, 1)
    task = controller.take()
    while not isinstance(task, PhaseTask):
        assert task
        controller.reported(task.key, Report(status=Status.COMPLETED))
        controller.finished(task.key)
        task = controller.take()
    controller.reported(task.key, Report(status=Status.RUNNING, process="p", serial=1, up_seconds=0.0))
    monkeypatch.setattr(RunDirectory, "saved", lambda *_: TrainingProgress(step=4, train_seconds=25.0))
    watch.seconds += 40.0
    controller.finished(task.key, crashed=True)
    rows = [row for row in read(run, LedgerRecord) if row.trial_id]
    assert [(str(row.category), row.device_seconds) for row in rows] == [("train", 25.0), ("lost", 15.0)]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.COMPLETED])
def test_a_process_that_ends_after_its_task_has_lost_nothing(tmp_path: Path, status: Status) -> None:
    """On a node that leaves it takes no further task; until that is known the device is idle."""
    watch, run = VirtualClock(), tmp_path / "r"
    controller = new_controller(run, made_space(strategies=["generator"], learning_rates={"generator": [3e-4]}))
    controller.now, controller.state.indexed = watch, True
    controller.open_books(0.0, 1)
    task = controller.take()
    assert isinstance(task, PhaseTask)
    watch.seconds += 40.0
    controller.reported(
        task.key, replace(AT_RUNG, status=status, train_seconds=30.0, process="p", serial=1, up_seconds=35.0)
    )
    watch.seconds += 2.0
    controller.finished(task.key, crashed=True)
    controller.close_books()
    assert {str(row.category): row.device_seconds for row in read(run, LedgerRecord)} == {
        "startup": 5.0, "train": 30.0, "idle": 7.0,
    }  # fmt: skip


def test_trials_that_a_full_disk_stops_are_not_over_any_budget(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"]))
    controller.state.indexed = True
    task = controller.take()
    assert task
    controller.reported(task.key, AT_RUNG)
    controller.broken = "No space left on device"
    controller.finished(task.key, stop_reason=Status.OVER_BUDGET)
    assert read(tmp_path / "r", TrialRecord) == []


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RuntimeError(f"[Rank 0] SafetensorError: {os.strerror(errno.ENOSPC)}"), "blocked", "No space left"),
        (
            RuntimeError("[Rank 1] torch.OutOfMemoryError: CUDA out of memory."),
            "failed",
            "Lower training.rag.batch_size",
        ),
        (RuntimeError("[Rank 0] ValueError: no"), "failed", "ValueError: no"),
    ],
)
def test_what_a_worker_group_died_of_is_told_apart(error: RuntimeError, status: str, words: str) -> None:
    told = run_task.failure(error)
    assert told.status == status
    assert words in (told.error or "")
