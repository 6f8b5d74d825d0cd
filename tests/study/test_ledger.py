"""The ledger of trials whose processes die, wait and start again: every second once, and to whom it belongs."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raggrid.backend.ray.searcher import StudySearcher
from raggrid.backend.simulator.replay import VirtualClock
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.records import LedgerRecord, Report, Status, TrainingProgress, TrialRecord
from raggrid.store.tables import append, create_run, read
from raggrid.study import ledger
from raggrid.study.ledger import Account
from raggrid.study.tasks import Dispatch, PhaseTask, from_config
from raggrid.worker import run_task
from tests.controllers import new_controller
from tests.processes import charged
from tests.records import charge, curve, made_space

AT_RUNG = Report(status=Status.RUNNING, step=8, objective=2.0)
TASK = PhaseTask("t", "generator_rag/rag_token", PhaseRun("generator_rag", "rag_token", 0, None, 1e-4, 24))


def started(run: Path, monkeypatch: pytest.MonkeyPatch, *, saved_at: float | None, **dispatch: Any) -> None:
    """A process that is given a trial whose last checkpoint is of ``saved_at``, and ends at once."""
    progress = SimpleNamespace(train_seconds=0.0, evaluate_seconds=0.0)
    trainer = SimpleNamespace(lost_since=saved_at, progress=progress, train=lambda: None)
    monkeypatch.setattr(run_task, "Trainer", lambda *_: trainer)
    monkeypatch.setattr(run_task, "train_task", lambda *_: None)
    if not run.exists():
        create_run(run, made_space(), {})
    run_task.run_task(replace(Dispatch(task=TASK, run_dir=str(run)), **dispatch), Worker(report=lambda _: None))


def test_a_process_that_follows_a_dead_one_charges_what_was_lost_and_no_second_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 s ago the trial was handed out; its process was up after 10 s, trained, saved 90 s ago, and died."""
    run, now = tmp_path / "r", time.time()
    started(run, monkeypatch, saved_at=None, at=now - 10)
    append(run, [charge("train", 500.0, "t", started_at=now - 590)])
    started(run, monkeypatch, saved_at=now - 90, at=now - 600, session_began=now - 700)
    spent = {name: charged(run, name) for name in ("startup", "train", "lost")}
    assert spent == pytest.approx({"startup": 10.0, "train": 500.0, "lost": 90.0}, abs=2.0)


def test_waiting_for_another_start_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process died for good 5 s after it had saved; others held the device for 900 s before it was tried again."""
    now = time.time()
    started(
        tmp_path / "r", monkeypatch, saved_at=now - 905, at=now - 1, released_at=now - 900, session_began=now - 2000
    )
    assert charged(tmp_path / "r", "lost") == pytest.approx(5.0, abs=1.0)


def test_what_a_killed_session_lost_is_charged_by_the_next_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    started(tmp_path / "r", monkeypatch, saved_at=now - 100, at=now - 1, session_began=now - 50)
    assert charged(tmp_path / "r", "lost") == 0.0


def test_a_trial_that_dies_for_good_is_charged_once_and_keeps_what_it_told(tmp_path: Path) -> None:
    """Twice four processes die; Tune starts three of them anew, and each of these charges what its forerunner lost."""
    watch, run = VirtualClock(), tmp_path / "r"
    controller = new_controller(run, made_space(strategies=["generator"], learning_rates={"generator": [3e-4]}))
    controller.now, controller.state.indexed = watch, True
    for death in range(2):
        task = controller.take()
        assert task
        if death == 0:
            controller.reported(task.key, replace(AT_RUNG, train_seconds=80.0, evaluate_seconds=5.0))
        for _ in range(3):
            watch.seconds += 100.0
            append(run, [charge("lost", 100.0, task.key, started_at=watch.seconds - 100.0)])
        watch.seconds += 100.0
        controller.finished(task.key, crashed=True)
        if death == 0:
            append(run, [charge("lost", 100.0, task.key, started_at=300.0)])
    row = read(run, TrialRecord)[0]
    assert (row.status, row.steps, row.train_device_seconds, row.objective) == ("failed", 8, 80.0, 2.0)
    assert sum(entry.device_seconds for entry in read(run, LedgerRecord)) == 800.0
    assert row.lost_device_seconds == 800.0


def test_a_crash_and_a_budget_note_when_a_trial_was_let_go_of(tmp_path: Path) -> None:
    watch = VirtualClock()
    controller = new_controller(
        tmp_path / "r", made_space(strategies=["generator"], learning_rates={"generator": [3e-4]})
    )
    controller.now, controller.state.indexed = watch, True
    searcher = StudySearcher(controller, "r", {}, session_began=1.0)
    assert isinstance(searcher.suggest("a"), dict)
    watch.seconds = 50.0
    searcher.on_trial_complete("a", error=True)
    watch.seconds = 70.0
    again = searcher.suggest("b")
    assert isinstance(again, dict)
    given = from_config(again)
    assert (given.at, given.released_at, given.session_began) == (70.0, 50.0, 1.0)


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


# The rules by themselves

THREE = Account(trial_id="t", num_workers=3, device_type="A100")


def summary(rows: Iterable[LedgerRecord]) -> list[tuple[str, float, float]]:
    """(category, wall seconds, start) of each row, which all three workers spent."""
    assert all(row.device_seconds == 3 * row.wall_seconds and row.device_type == "A100" for row in rows)
    return [(str(row.category), row.wall_seconds, row.started_at) for row in rows]


@pytest.mark.parametrize(
    ("at", "released_at", "saved_at", "expected"),
    [
        (100.0, 0.0, None, [("startup", 10.0, 100.0)]),
        (112.0, 0.0, None, [("startup", 0.0, 112.0)]),  # clocks of two machines may differ a little
        (100.0, 0.0, 40.0, [("startup", 10.0, 100.0)]),  # saved in an earlier session
        (100.0, 90.0, 80.0, [("startup", 10.0, 100.0), ("lost", 10.0, 80.0)]),  # gave the trial back at 90
        (100.0, 0.0, 80.0, [("startup", 10.0, 100.0), ("lost", 30.0, 80.0)]),  # held on to it all the time
        (60.0, 0.0, 80.0, [("lost", 30.0, 80.0)]),  # Ray started it anew, the dead process charged the start
    ],
)
def test_a_start_is_charged_once_and_what_died_before_it_is_lost(
    at: float, released_at: float, saved_at: float | None, expected: list[tuple[str, float, float]]
) -> None:
    given = Dispatch(task=TASK, run_dir="r", at=at, released_at=released_at, session_began=50.0)
    assert summary(ledger.start_up(THREE, given, 110.0, saved_at)) == expected


def test_a_reading_charges_what_was_done_since_the_last() -> None:
    before, now = TrainingProgress(train_seconds=2.0, evaluate_seconds=1.0), TrainingProgress(train_seconds=5.0)
    later = replace(now, evaluate_seconds=1.5)
    assert summary(ledger.metered(THREE, before, later, 7.0)) == [("train", 3.0, 7.0), ("evaluate", 0.5, 7.0)]
    assert ledger.metered(THREE, later, later, 8.0) == []


def test_a_crash_loses_what_was_held_and_not_charged() -> None:
    own = [charge("train", 30.0, "t", started_at=5.0), charge("train", 60.0, "t", started_at=20.0)]
    assert summary(ledger.crash(THREE, own, since=10.0, until=50.0)) == [("lost", 20.0, 10.0)]
    assert ledger.crash(THREE, own, since=10.0, until=30.0) == []


def test_a_trial_is_the_sum_of_its_attempts() -> None:
    own = [charge("startup", 4.0), charge("lost", 6.0), charge("evaluate", 9.0), charge("train", 30.0)]
    report = replace(AT_RUNG, train_seconds=10.0, evaluate_seconds=2.0, num_workers=3)
    whole = ledger.whole_trial(report, own, wall_seconds=20.0)
    assert (whole.train, whole.evaluate, whole.lost, whole.wall_seconds) == (30.0, 6.0, 6.0, 49.0)
    assert ledger.whole_trial(report, (), wall_seconds=20.0).wall_seconds == 20.0
    stopped = ledger.stopped_trial(curve("t", 8, 2.0, 30.0), own)
    assert (stopped.train, stopped.evaluate, stopped.lost, stopped.wall_seconds) == (30.0, 9.0, 6.0, 49.0)


def test_idle_is_what_nobody_was_charged_for_and_never_less_than_nothing() -> None:
    devices = replace(THREE, trial_id=None)
    assert summary([ledger.idle(devices, [charge("train", 60.0)], 100.0, 150.0)]) == [("idle", 30.0, 100.0)]
    assert summary([ledger.idle(devices, [charge("train", 600.0)], 100.0, 150.0)]) == [("idle", 0.0, 100.0)]


def test_the_books_of_a_killed_session_add_up_to_what_it_held() -> None:
    """It held 4 devices from 100 to 200, and charged 150 of their 400 seconds; two trials of 2 workers were running."""
    trial, devices = Account(num_workers=2), Account(num_workers=4)
    saved = {"early": 90.0, "one": 150.0, "other": 170.0, "unborn": 220.0}
    rows = list(ledger.books_of_killed_session(trial, devices, [charge("train", 150.0)], saved, 100.0, 200.0))
    assert {(row.trial_id, str(row.category), row.device_seconds) for row in rows} == {
        ("one", "lost", 100.0), ("other", "lost", 60.0), (None, "idle", 90.0),
    }  # fmt: skip
    short = list(ledger.books_of_killed_session(trial, devices, [charge("train", 350.0)], saved, 100.0, 200.0))
    assert [(row.trial_id, row.device_seconds) for row in short] == [("one", 50.0)]  # no more than was held


def test_the_wall_time_of_sessions_is_that_of_the_devices_each_of_them_held() -> None:
    """Eight devices for an hour, then two for half an hour."""
    rows = [
        charge("train", 7 * 3600.0, "a", num_workers=7, started_at=10.0),
        charge("idle", 3600.0, num_workers=8),
        charge("train", 1800.0, "b", started_at=9010.0),
        charge("idle", 1800.0, num_workers=2, started_at=9000.0),
    ]
    assert ledger.wall_seconds(rows, devices=32) == 1.5 * 3600.0
    assert ledger.wall_seconds(rows[:1], devices=7) == 3600.0
    assert ledger.wall_seconds([], devices=2) == 0.0
