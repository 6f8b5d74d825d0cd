"""The training loop: it learns, it leaves the frozen side alone, and the audit finds wrong losses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
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
from raggrid.finetune.losses import RAG_LOSSES
from raggrid.finetune.objectives import rag_forward
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES
from raggrid.study.tasks import AnswerTask
from tests.conftest import SpaceMaker
from tests.tiny import make_tiny_models, plain_world
from tests.trials import done, phase_task, prepared_run, train_task, trainer_for

RAG_PHASES = ("generator_rag", "embedder_rag", "joint_rag")


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
