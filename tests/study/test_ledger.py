"""The ledger of trials whose processes die, wait and start again: every second once, and to whom it belongs."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from raggrid.backend.ray.searcher import StudySearcher
from raggrid.backend.simulator.replay import VirtualClock
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.records import LedgerRecord, TrialRecord
from raggrid.store.tables import append, create_run, read
from raggrid.study.tasks import PhaseTask, to_config
from raggrid.worker import run_task as run_task
from tests.controllers import new_controller
from tests.processes import charged
from tests.records import made_space

TASK = PhaseTask("t", "generator_rag/rag_token", PhaseRun("generator_rag", "rag_token", 0, None, 1e-4, 24))


def started(run: Path, monkeypatch: pytest.MonkeyPatch, *, saved_at: float | None, **dispatch: float) -> None:
    """A process that is given a trial whose last checkpoint is of ``saved_at``, and ends at once."""
    progress = SimpleNamespace(train_seconds=0.0, evaluate_seconds=0.0)
    trainer = SimpleNamespace(lost_since=saved_at, progress=progress, train=lambda: None)
    monkeypatch.setattr(run_task, "Trainer", lambda *_: trainer)
    monkeypatch.setattr(run_task, "train_task", lambda *_: None)
    if not run.exists():
        create_run(run, made_space(), {})
    run_task.run_task({**to_config(TASK, str(run), 0), "dispatch": dispatch}, Worker(report=lambda _: None))


def test_a_process_that_follows_a_dead_one_charges_what_was_lost_and_no_second_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 s ago the trial was handed out; its process was up after 10 s, trained, saved 90 s ago, and died."""
    run, now = tmp_path / "r", time.time()
    started(run, monkeypatch, saved_at=None, at=now - 10)
    append(run, [LedgerRecord("t", None, "train", 500.0, 500.0, 1, "cpu", now - 590)])
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
            controller.reported(task.key, {"status": "running", "step": 8, "objective": 2.0, "train_seconds": 80.0,
                                        "evaluate_seconds": 5.0, "attempts": 1})  # fmt: skip
        for _ in range(3):
            watch.seconds += 100.0
            append(run, [LedgerRecord(task.key, None, "lost", 100.0, 100.0, 1, "cpu", watch.seconds - 100.0)])
        watch.seconds += 100.0
        controller.finished(task.key, crashed=True)
        if death == 0:
            append(run, [LedgerRecord(task.key, None, "lost", 100.0, 100.0, 1, "cpu", 300.0)])
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
    assert again["dispatch"] == {"at": 70.0, "released_at": 50.0, "session_began": 1.0}


def test_trials_that_a_full_disk_stops_are_not_over_any_budget(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"]))
    controller.state.indexed = True
    task = controller.take()
    assert task
    controller.reported(task.key, {"status": "running", "step": 8, "objective": 2.0})
    controller.broken = "No space left on device"
    controller.finished(task.key, stop_reason="over_budget")
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
    assert told["status"] == status
    assert words in told["error"]
