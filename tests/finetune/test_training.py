"""The training loop: it learns, it resumes to the bit, it leaves the frozen side alone, and the audit bites."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from raggrid.demo import make_world, write_world
from raggrid.finetune import audit, objectives, trainer
from raggrid.finetune.audit import (
    AuditError,
    audit_frozen,
    audit_gradients,
    audit_loss,
    audit_score_gradient,
    fingerprint,
)
from raggrid.finetune.batches import batch_positions, shard
from raggrid.finetune.checkpoints import load_state, save_state
from raggrid.finetune.losses import RAG_LOSSES
from raggrid.finetune.objectives import rag_forward
from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.step_log import is_logged
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.records import LedgerRecord, Report, StepRecord, TrainingProgress
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import files_at
from raggrid.store.progress import saved_progress
from raggrid.store.tables import read
from raggrid.strategies import PHASES
from raggrid.study.tasks import AnswerTask, Dispatch
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.tiny import make_tiny_models, plain_world
from tests.trials import curve, done, phase_task, prepared_run, started, train_task, trainer_for

RAG_PHASES = ("generator_rag", "embedder_rag", "joint_rag")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker) -> Path:
    return prepared_run(tmp_path_factory.mktemp("run") / "r", make_space())


@pytest.mark.parametrize("phase", ["embedder_labels", *RAG_PHASES])
def test_every_phase_completes_and_keeps_what_it_tuned(run: Path, phase: str) -> None:
    reports = done(phase_task(phase, key=f"keeps-{phase}"), run)
    assert [report.status for report in reports] == ["running", "completed"]
    assert reports[-1].step == 6
    about = PHASES[phase]
    kept = {path.name for path in (run / "checkpoints" / f"keeps-{phase}").iterdir()}
    sides = (("embedder", about.trains_embedder), ("generator", about.trains_generator))
    assert kept == {"state", *(side for side, trained in sides if trained)}  # the state goes once a record is written


@pytest.mark.slow
def test_generator_learns_to_copy_from_its_passage(tmp_path: Path, make_space: SpaceMaker) -> None:
    """Real learning: from never right to mostly right, on names and towns that it has not trained on."""
    world = plain_world(3000)
    write_world(world, tmp_path / "world")
    embedder, generator = make_tiny_models(tmp_path / "models", world)
    space = make_space(
        data={"folder": str(tmp_path / "world"), "limits": {"validation": 60}},
        models={"embedder": str(embedder), "generator": str(generator)},
        retrieval={"top_k": 1},
        answer={"top_k": 1, "max_new_tokens": 8},
        prompt={"passage_tokens": 32},
        strategies=["generator"],
        training={"rag": {"steps": 800, "batch_size": 24}, "context_loss": 1.0, "validation_questions": 60},
    )
    folder = prepared_run(tmp_path / "r", space)
    done(phase_task("generator_rag", lr=5e-3, steps=800), folder)
    before, after = (
        done(AnswerTask(name, name, "generator", "rag_token", 0, "validation", None, tuned), folder)[-1].scores[
            "exact_match"
        ]
        for name, tuned in (("before", None), ("after", "t"))
    )
    assert before == 0.0
    assert after is not None
    assert after >= 0.3  # 0.8 where it was written; a constant answer gets 0.0


@pytest.mark.slow
def test_embedder_learns_from_labels(tmp_path: Path, make_space: SpaceMaker) -> None:
    """Real learning: it finds the passages of questions better that it has not trained on."""
    write_world(make_world(0, num_entities=600), tmp_path / "world")
    space = make_space(
        data={"folder": str(tmp_path / "world"), "limits": {}}, training={"labels": {"steps": 200, "batch_size": 32}}
    )
    folder = prepared_run(tmp_path / "r", space)
    tuned = done(phase_task("embedder_labels", lr=3e-4, steps=200), folder)[-1]
    untuned = done(phase_task("embedder_labels", lr=1e-9, steps=1, key="untuned"), folder)[-1]
    assert (tuned.objective or math.inf) < 0.7 * (untuned.objective or 0.0)
    assert (tuned.recall_at_k or 0.0) >= (untuned.recall_at_k or math.inf) + 0.05


@pytest.mark.parametrize("phase", ["embedder_labels", "joint_rag"])
def test_resumed_run_equals_an_undisturbed_one_to_the_bit(run: Path, phase: str) -> None:
    straight = phase_task(phase, key=f"straight-{phase}")
    done(straight, run)
    broken = replace(straight, key=f"broken-{phase}")

    class Killed(BaseException):
        pass

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

    class Killed(BaseException):
        pass

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

    class Killed(BaseException):
        pass

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


@pytest.mark.parametrize("phase", ["generator_rag", "embedder_rag"])
def test_frozen_side_gets_no_gradient_and_keeps_every_bit(run: Path, phase: str) -> None:
    subject = trainer_for(run, phase_task(phase, key=f"frozen-{phase}"))
    before = fingerprint(subject.frozen.values())
    trained = fingerprint(subject.trained.values())
    subject.train()
    assert fingerprint(subject.frozen.values()) == before
    assert fingerprint(subject.trained.values()) != trained
    assert all(parameter.grad is None for parameter in subject.frozen.values())


def test_lora_trains_adapters_alone_and_saves_them_alone(tmp_path: Path, make_space: SpaceMaker) -> None:
    folder = prepared_run(tmp_path / "r", make_space(training={"generator": "lora", "lora_rank": 4}))
    subject = trainer_for(folder, phase_task("generator_rag"))
    assert all("lora_" in name for name in subject.trained)
    subject.train()
    kept = {path.name for path in (folder / "checkpoints" / "t" / "generator").iterdir()}
    assert "adapter_model.safetensors" in kept
    assert "model.safetensors" not in kept


def test_full_tuning_in_bfloat16_keeps_float32_masters(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space()
    space = space.model_copy(update={"models": space.models.model_copy(update={"dtype": "bfloat16"})})
    subject = trainer_for(prepared_run(tmp_path / "r", space), phase_task("generator_rag", lr=1e-5))
    assert {parameter.dtype for parameter in subject.trained.values()} == {torch.float32}
    assert subject.task.pipeline.required_generator.autocast == torch.bfloat16
    before = fingerprint(subject.trained.values())
    assert subject.train() == "completed"
    assert fingerprint(subject.trained.values()) != before


def test_loss_that_is_not_finite_ends_the_trial_at_once(run: Path) -> None:
    subject = trainer_for(run, phase_task("generator_rag", key="nan"))
    with torch.no_grad():
        next(iter(subject.trained.values())).fill_(float("nan"))
    reports: list[Report] = []
    subject.worker = Worker(report=reports.append)
    assert subject.train() == "diverged"
    assert [(report.status, report.step, report.objective) for report in reports] == [("diverged", 1, None)]
    assert "diverged at step 1: got loss nan" in (reports[0].error or "")


def test_gradient_that_is_not_finite_ends_the_trial_without_an_update(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss stays finite; one gradient overflows at the fourth step, past the rung at the second."""
    subject = trainer_for(run, phase_task("joint_rag", key="inf"))
    reports: list[Report] = []
    subject.worker = Worker(report=reports.append)
    backward, weights = subject._backward, []

    def overflowing(places: Sequence[int], audited: bool) -> torch.Tensor:
        loss = backward(places, audited)
        if subject.progress.step == 3:
            weights.append(fingerprint(subject.trained.values()))
            next(p.grad for n, p in subject.trained.items() if n.startswith("generator") and p.grad is not None).fill_(
                math.inf
            )
        return loss

    monkeypatch.setattr(subject, "_backward", overflowing)
    assert subject.train() == "diverged"
    assert [(report.status, report.step) for report in reports] == [("running", 2), ("diverged", 4)]
    assert "diverged at step 4: got loss" in (reports[-1].error or "")
    assert "gradient norm of the generator inf" in (reports[-1].error or "")
    assert weights == [fingerprint(subject.trained.values())]
    assert subject.progress.log[-1].step == 4
    assert subject.progress.log[-1].generator_grad_norm == math.inf


def test_steps_are_logged_with_rates_norms_and_speed(run: Path) -> None:
    done(phase_task("joint_rag", key="logged", lr=1e-3), run)
    rows = [row for row in read(run, StepRecord) if row.trial_id == "logged"]
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.embedder_lr for row in rows] == pytest.approx([1e-3 * left / 6 for left in (6, 5, 4, 3, 2, 1)])
    assert all(row.embedder_grad_norm and row.generator_grad_norm and row.tokens_per_second > 0 for row in rows)
    (_, _, first), (_, _, second) = curve(run, "logged")
    assert [first, second] == pytest.approx([fmean(row.loss for row in part) for part in (rows[:2], rows[2:])])
    labels = phase_task("embedder_labels", key="logged-labels")
    done(labels, run)
    row = next(row for row in read(run, StepRecord) if row.trial_id == labels.key)
    assert (row.generator_lr, row.generator_grad_norm) == (None, None)


def test_logged_norm_is_torchs_own_before_clipping(run: Path) -> None:
    subject = trainer_for(run, phase_task("generator_rag", key="norm"))
    norms: list[float] = []
    clip = subject._clip

    def spied(step: int) -> dict[str, float]:
        gradients = [p.grad.flatten() for p in subject.trained.values() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return clip(step)

    subject._clip = spied  # type: ignore[method-assign]
    taken = subject.step(0)
    assert taken.norms == {"generator": pytest.approx(norms[0], rel=1e-5)}


@pytest.mark.parametrize("max_steps", [1, 6, 199, 200, 201, 11306])
def test_a_log_is_short_and_has_both_ends(max_steps: int) -> None:
    logged = [step for step in range(1, max_steps + 1) if is_logged(step, max_steps, ())]
    assert logged[0] == 1
    assert logged[-1] == max_steps
    assert len(logged) == max_steps if max_steps <= 200 else 100 <= len(logged) <= 202


def test_an_exception_becomes_a_failed_report_with_its_traceback(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(trainer, "validate", explode)
    reports = done(phase_task("generator_rag", key="boom"), run)
    assert reports[-1].status == "failed"
    assert "no such luck" in (reports[-1].error or "")
    assert "Traceback" in (reports[-1].error or "")


def test_audit_fails_the_trial_when_a_loss_is_wrong(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = RAG_LOSSES["rag_token"]
    wrong = replace(right, nll=lambda *a, **k: right.nll(*a, **k) * 1.01)
    monkeypatch.setattr(objectives, "RAG_LOSSES", {**RAG_LOSSES, "rag_token": wrong})
    reports = done(phase_task("joint_rag", key="wrong"), run)
    assert reports[-1].status == "failed"
    assert "brute-force" in (reports[-1].error or "")


def with_batch(space: SearchSpace, size: int) -> SearchSpace:
    rag = space.training.rag.model_copy(update={"batch_size": size})
    return space.model_copy(update={"training": space.training.model_copy(update={"rag": rag})})


@pytest.mark.parametrize("phase", ["generator_rag", "joint_rag", "closed_book"])
def test_a_batch_in_several_passes_has_the_same_loss_and_gradients(
    run: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = PHASES[phase].loss or "rag_token"

    def first_step(pass_bytes: float) -> tuple[float, torch.Tensor, int]:
        monkeypatch.setattr(objectives, "PASS_BYTES", pass_bytes)
        subject = trainer_for(run, phase_task(phase, loss=loss, key="passes"))
        subject.task = replace(subject.task, space=with_batch(subject.task.space, 5))
        monkeypatch.setattr(subject.optimizer, "step", lambda: None)
        monkeypatch.setattr(subject.optimizer, "zero_grad", lambda **_: None)
        with monkeypatch.context() as patched:
            counted = Mock(side_effect=objectives.rag_forward)
            patched.setattr(trainer, "rag_forward", counted)
            value = subject.step(0).loss
        gradients = [p.grad.flatten() for p in subject.trained.values() if p.grad is not None]
        return value, torch.cat(gradients), counted.call_count

    whole, parts = first_step(1e12), first_step(1.0)
    assert (whole[2], parts[2]) == (1, 5)
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    assert float((parts[1] - whole[1]).norm() / whole[1].norm()) < 1e-5


@pytest.mark.parametrize("loss", ["rag_token", "rag_sequence"])
def test_score_gradient_is_prior_minus_posterior(run: Path, loss: str) -> None:
    task = train_task(run, phase_task("joint_rag", loss=loss))
    for parameter in task.pipeline.embedder.model.parameters():
        parameter.requires_grad_(True)
    forward = rag_forward(task.pipeline, PHASES["joint_rag"], loss, task.train[:3], k=2, temperature=0.05)
    forward.retrieval_scores.retain_grad()
    forward.nll.mean().backward()
    gradient = forward.retrieval_scores.grad
    assert gradient is not None
    audit_loss(forward, loss, 0.05)
    audit_score_gradient(forward, gradient, loss, 0.05, 3)
    with pytest.raises(AuditError, match="gradient of the retrieval scores"):
        audit_score_gradient(forward, -gradient - 1e-2, loss, 0.05, 3)


def test_audit_names_what_it_found() -> None:
    with pytest.raises(AuditError, match="no gradient reaches a"):
        audit_gradients({}, {}, {"a"})
    with pytest.raises(AuditError, match="frozen tensors"):
        audit_gradients({}, {"b": torch.nn.Parameter(torch.ones(1))}, ())
    unsound = torch.nn.Parameter(torch.ones(2))
    unsound.grad = torch.tensor([1.0, float("nan")])
    with pytest.raises(AuditError, match="the loss is finite; the gradients of c and 0 more"):
        audit_gradients({"c": unsound}, {}, ())
    with pytest.raises(AuditError, match="frozen side changed"):
        audit_frozen(fingerprint([torch.zeros(2)]), fingerprint([torch.tensor([0.0, -0.0])]))
    assert audit.UNREACHABLE == ("pooler",)


def test_labels_have_their_own_number_of_validation_questions(tmp_path: Path, make_space: SpaceMaker) -> None:
    def objective(**labels: int) -> float | None:
        space = make_space(training={"labels": {"steps": 1, "batch_size": 4, **labels}})
        folder = prepared_run(tmp_path / str(labels), space)
        return done(phase_task("embedder_labels", steps=1), folder)[-1].objective

    shared = objective()
    assert objective(validation_questions=6) == shared
    assert objective(validation_questions=12) != shared


def test_batches_are_full_permutations_and_shards_cover_them() -> None:
    epoch = [place for step in range(5) for place in batch_positions(20, 4, step, seed=3)]
    assert sorted(epoch) == list(range(20))
    assert batch_positions(20, 4, 2, seed=3) == epoch[8:12]
    assert batch_positions(20, 4, 0, seed=4) != epoch[:4]
    parts = [shard(epoch, rank, 3) for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(20))
