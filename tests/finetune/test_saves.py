"""Training that is killed continues from its last saved state to the bit, and is charged for what is lost."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from raggrid.finetune.checkpoints import load_state, save_state
from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.records import LedgerRecord, Report, StepRecord, TrainingProgress
from raggrid.store.files import files_at
from raggrid.store.progress import saved_progress
from raggrid.store.tables import read
from raggrid.study.tasks import Dispatch
from raggrid.worker.run_task import run_task
from tests.trials import curve, done, phase_task, started, train_task, trainer_for


class Killed(BaseException):
    """A process ends here, as no handler of errors would see it."""


@pytest.mark.parametrize("phase", ["embedder_labels", "joint_rag"])
def test_resumed_run_equals_an_undisturbed_one_to_the_bit(run: Path, phase: str) -> None:
    straight = phase_task(phase, key=f"straight-{phase}")
    done(straight, run)
    broken = replace(straight, key=f"broken-{phase}")

    def die(metrics: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        trainer_for(run, broken, die).train()
    done(broken, run)
    whole = curve(run, straight.key)
    assert curve(run, broken.key) == whole  # the rung that was saved but not told is told
    side = "embedder/model.safetensors"
    first, second = (run / "checkpoints" / task.key / side for task in (straight, broken))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("phase", ["embedder_labels", "joint_rag"])
def test_killed_between_rungs_it_continues_from_the_last_timed_save_to_the_bit(
    run: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 4 of 6, between the rung at 2 and the end; the state is saved after every step."""
    straight = phase_task(phase, key=f"whole-{phase}")
    done(straight, run)
    broken = replace(straight, key=f"timed-{phase}")

    def die_at(row: StepRecord) -> None:
        if row.step == 5:  # logged before it could be saved: lost
            raise Killed

    monkeypatch.setattr(SaveClock, "is_due", lambda _: True)
    trainer = Trainer(train_task(run, broken), Worker(report=lambda _: None, logged=die_at))
    with pytest.raises(Killed):
        trainer.train()
    kept = saved_progress(run, broken.key)
    assert kept
    assert (kept.step, kept.objective, kept.loss_steps) == (4, None, 2)
    reports = done(broken, run)
    assert [report.step for report in reports] == [6]  # the rung was told before: not again, and not as of step 4
    assert curve(run, broken.key) == curve(run, straight.key)[1:]
    side = "embedder/model.safetensors"
    first, second = (run / "checkpoints" / task.key / side for task in (straight, broken))
    assert first.read_bytes() == second.read_bytes()
    logged = {key: [(r.step, r.loss, r.embedder_lr, r.embedder_grad_norm) for r in read(run, StepRecord) if
              r.trial_id == key] for key in (straight.key, broken.key)}  # fmt: skip
    assert logged[broken.key] == logged[straight.key]
    assert [row[0] for row in logged[straight.key]] == [1, 2, 3, 4, 5, 6]


def test_what_a_timed_save_holds_is_charged_and_only_the_rest_is_lost(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SaveClock, "is_due", lambda _: True)
    task = phase_task("generator_rag", key="charged")

    def die_at(row: StepRecord) -> None:
        if row.step == 5:
            raise Killed

    books, reports = started(task, run), list[Report]()
    began = time.time()

    def report(made: Report) -> None:
        books.reported(task.key, made)
        reports.append(made)

    with pytest.raises(Killed):
        run_task(Dispatch(task=task, run_dir=str(run)), Worker(report=report, logged=die_at))
    kept = saved_progress(run, task.key)
    assert kept
    assert reports[-1].step == 2  # the rung, two steps before the last save
    time.sleep(0.2)
    run_task(Dispatch(task=task, run_dir=str(run)), Worker(report=report))
    own = [row for row in read(run, LedgerRecord) if row.trial_id == task.key]
    spent = {name: sum(row.device_seconds for row in own if row.category == name) for name in ("train", "evaluate")}
    assert (spent["train"], spent["evaluate"]) == pytest.approx(
        (reports[-1].train_seconds, reports[-1].evaluate_seconds)
    )
    (lost,) = [row for row in own if row.category == "lost"]
    assert lost.wall_seconds > 0.2
    assert sum(row.wall_seconds for row in own) <= time.time() - began


def test_the_clock_of_saves() -> None:
    times = iter([0.0, 59.0, 60.0, 61.0, 62.0])
    clock = SaveClock(1.0, lambda: next(times))
    assert not clock.is_due()
    assert clock.is_due()
    clock.restart()
    assert not clock.is_due()
    assert not SaveClock(0.0).is_due()


def test_a_crash_while_a_state_is_put_in_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"weight": torch.nn.Parameter(torch.ones(2))}
    optimizer, files = torch.optim.AdamW(parameters.values()), files_at(tmp_path)
    save_state(files, "t", parameters, optimizer, TrainingProgress(step=1))
    with monkeypatch.context() as patched:
        for call in ("rename", "replace"):
            patched.setattr(os, call, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save_state(files, "t", parameters, optimizer, TrainingProgress(step=2))
    kept = saved_progress(files, "t")
    assert kept == replace(TrainingProgress(step=1), saved_at=kept.saved_at if kept else 0.0)
    save_state(files, "t", parameters, optimizer, TrainingProgress(step=3))
    after = load_state(files, "t", parameters, optimizer)
    assert after == replace(TrainingProgress(step=3), saved_at=after.saved_at if after else 0.0)
