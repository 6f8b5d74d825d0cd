"""What is not computed twice: retrieval by a frozen embedder, and what a frozen generator says of answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raggrid.finetune import known_scores
from raggrid.finetune.known_scores import KnownScores
from raggrid.finetune.objectives import RagForward, rag_forward
from raggrid.finetune.train_task import TrainTask
from raggrid.identity import scoring_key
from raggrid.rag.embedder import Embedder
from raggrid.rag.generator import Generator
from raggrid.rag.index import Index
from raggrid.rag.retrievers import KeptRetriever
from raggrid.records import Question
from raggrid.store.files import files_at
from raggrid.store.run_layout import retrieved, scored
from raggrid.strategies import PHASES
from tests.conftest import SpaceMaker
from tests.tiny import save_generator
from tests.trials import curve, done, phase_task, prepared_run, train_task

PHASE = PHASES["embedder_rag"]
K, TEMPERATURE = 3, 0.05
EXACT = 1e-6


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker) -> Path:
    return prepared_run(tmp_path_factory.mktemp("run") / "r", make_space(retrieval={"top_k": K}))


@pytest.fixture
def run(tmp_path: Path, prepared: Path) -> Path:
    """A copy, in which nothing has been computed but the passages' vectors."""
    return shutil.copytree(prepared, tmp_path / "r")


def forward(task: TrainTask, loss: str, known: KnownScores | None, count: int = 5) -> tuple[RagForward, torch.Tensor]:
    """The forward of the first questions, and the gradient of its mean loss in all that trains."""
    tunable = [parameter.requires_grad_(True) for parameter in task.pipeline.embedder.tunable().values()]
    made = rag_forward(
        task.pipeline, PHASE, loss, task.train[:count], k=K, temperature=TEMPERATURE, known=known
    )  # fmt: skip
    gradients = torch.autograd.grad(made.nll.mean(), tunable, allow_unused=True)
    return made, torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def likelihood_of(task: TrainTask, question: Question, place: int) -> torch.Tensor:
    """(T,) p(y_t) of a question's first answer after one passage, scored alone."""
    pipeline = task.pipeline
    scored = pipeline.required_generator.score([pipeline.prompt(question.question, [place])], [question.answers[0]])
    return scored.token_logprobs[0].detach().double().exp()


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("computed again")


@pytest.mark.parametrize("loss", ["rag_token", "rag_sequence"])
def test_loss_and_gradient_are_those_of_a_brute_force_sum(
    run: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against sums over passages in float64, each answer scored alone; with all pairs known, some and none."""
    task = train_task(run, phase_task("embedder_rag", loss=loss))
    assert task.known is not None
    plain, expected = forward(task, loss, None)
    forward(task, loss, task.known, count=2)
    cases = [forward(task, loss, task.known), forward(task, loss, task.known)]
    monkeypatch.setattr(Generator, "score", forbidden)
    cases += [forward(task, loss, task.known)]
    for made, gradient in cases:
        assert made.nll.tolist() == pytest.approx(plain.nll.tolist(), rel=EXACT)
        assert float((gradient - expected).norm() / expected.norm()) < 5 * EXACT
    monkeypatch.undo()
    texts = [question.question for question in task.train[:5]]
    scores, positions = task.pipeline.retriever.score(texts, K)
    prior = (scores.detach().double() / TEMPERATURE).softmax(-1)
    for row, question in enumerate(task.train[:5]):
        likelihood = torch.stack([likelihood_of(task, question, place) for place in positions[row].tolist()])
        each = likelihood.prod(-1) if loss == "rag_sequence" else likelihood
        total = (prior[row] @ each).log().sum()
        assert float(cases[-1][0].nll[row].detach()) == pytest.approx(float(-total), rel=EXACT)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_generators_of_other_kinds_are_remembered_too(tmp_path: Path, make_space: SpaceMaker, kind: str) -> None:
    from raggrid.demo import make_world

    folder = save_generator(tmp_path / kind, make_world(0, num_entities=120), kind)
    space = make_space(models={"generator": str(folder)}, retrieval={"top_k": K})
    task = train_task(prepared_run(tmp_path / "r", space), phase_task("embedder_rag"))
    plain, _ = forward(task, "rag_token", None)
    for _ in range(2):
        assert forward(task, "rag_token", task.known)[0].nll.tolist() == pytest.approx(plain.nll.tolist(), rel=EXACT)


def test_trials_of_a_search_share_what_the_first_has_computed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate so small that retrieval stays: the second trial and its validations score nothing."""
    first, second = (phase_task("embedder_rag", lr=1e-9, key=key) for key in ("first", "second"))
    done(first, run)
    monkeypatch.setattr(Generator, "score", forbidden)
    assert done(second, run)[-1].status == "completed"
    pairs = zip(curve(run, "first"), curve(run, "second"), strict=True)
    for one, two in pairs:
        assert one == pytest.approx(two, rel=EXACT)


def test_another_prompt_precision_or_generator_shares_nothing(make_space: SpaceMaker) -> None:
    space = make_space()
    others = [
        make_space(prompt={"passage_tokens": 99}),
        make_space(prompt={"chat": "off"}),
        make_space(prompt={"window": "sentence"}),
        make_space(prompt={"template": "{context} {question}"}),
        make_space(models={"dtype": "bfloat16"}),
        make_space(models={"generator": "other"}),
    ]
    keys = {scoring_key(each) for each in [space, *others]}
    assert len(keys) == 1 + len(others)
    assert scoring_key(make_space(learning_rates={"embedder": [1e-3]})) == scoring_key(space)
    assert scored("t1", "x") != scored(None, "x") != scored("t2", "x")


def test_a_generator_phase_remembers_nothing(run: Path) -> None:
    for phase in ("generator_rag", "joint_rag", "closed_book", "embedder_labels"):
        assert train_task(run, phase_task(phase)).known is None


def test_several_workers_and_a_killed_one_lose_only_what_was_not_saved(run: Path) -> None:
    task = train_task(run, phase_task("embedder_rag"))
    questions, positions = task.train[:4], np.arange(8).reshape(4, 2)
    one, two, killed = (KnownScores(files_at(run), "index/scored/x") for _ in range(3))
    one.score(task.pipeline, questions[:2], positions[:2])
    two.score(task.pipeline, questions[1:3], positions[1:3])
    killed.score(task.pipeline, questions, positions)
    one.save()
    two.save()
    assert len(list((run / "index/scored/x").iterdir())) == 2
    assert len(KnownScores(files_at(run), "index/scored/x")._rows) == 6
    one.save()
    assert len(list((run / "index/scored/x").iterdir())) == 2  # nothing new: nothing written
    assert len(one._rows) == 6  # what the other has written


def test_memory_is_bounded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_scores, "MOST_PAIRS", 3)
    task = train_task(run, phase_task("embedder_rag"))
    assert task.known is not None
    made, _ = forward(task, "rag_token", task.known)
    assert len(task.known._rows) == 3
    task.known.save()
    assert made.nll.tolist() == pytest.approx(forward(task, "rag_token", None)[0].nll.tolist(), rel=EXACT)


def test_what_is_new_is_saved_now_and_then(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_scores, "SAVE_SECONDS", -1.0)
    task = train_task(run, phase_task("embedder_rag"))
    forward(task, "rag_token", task.known)
    assert len(list((run / scored(None, scoring_key(task.space))).iterdir())) == 1


@pytest.mark.parametrize("phase", ["generator_rag", "closed_book"])
def test_a_phase_with_a_frozen_embedder_loads_it_once_a_study(
    run: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = PHASES[phase].loss or "rag_token"
    done(phase_task(phase, loss=loss, key="first"), run)
    monkeypatch.setattr(Embedder, "load", forbidden)
    monkeypatch.setattr(Index, "__init__", forbidden)
    monkeypatch.setattr(Index, "search", forbidden)
    assert done(phase_task(phase, loss=loss, key="second"), run)[-1].status == "completed"
    assert curve(run, "first") == curve(run, "second")


def test_kept_retrieval_is_what_the_embedder_finds(run: Path) -> None:
    kept = train_task(run, phase_task("generator_rag")).pipeline.retriever
    assert isinstance(kept, KeptRetriever)
    task = train_task(run, phase_task("joint_rag"))
    asked = [question.question for question in (*task.train, *task.validation)]
    with torch.no_grad():
        scores, positions = task.pipeline.retriever.score(asked, 2)
    kept_scores, kept_positions = kept.score(asked, 2)
    np.testing.assert_array_equal(kept_positions, positions)
    np.testing.assert_allclose(kept_scores.numpy(), scores.numpy(), atol=EXACT)
    np.testing.assert_array_equal(kept.find(asked, 1), positions[:, :1])


def test_two_trials_that_retrieve_at_once_do_no_harm(run: Path) -> None:
    train_task(run, phase_task("generator_rag"))
    folder = run / retrieved(None, K)
    (only,) = folder.iterdir()
    (folder / "9.parquet").write_bytes(only.read_bytes())
    (folder / ".8.parquet.tmp").write_bytes(b"half of a fi")
    assert isinstance(train_task(run, phase_task("generator_rag")).pipeline.retriever, KeptRetriever)


def test_a_pipeline_without_an_embedder_says_so(run: Path) -> None:
    pipeline = train_task(run, phase_task("generator_rag")).pipeline
    with pytest.raises(ValueError, match="no embedder; expected one that can train"):
        _ = pipeline.embedder
    assert replace(pipeline, generator=None).generator is None
