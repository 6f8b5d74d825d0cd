"""One phase run without Ray: it trains as a trial of a study does, and leaves models that stock libraries load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import raggrid
from raggrid.errors import DataError, InputError, RecordError, StudyError
from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.trainer import Trainer
from raggrid.rag.adapters import load_tuned, load_tuned_embedder
from raggrid.records import TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.files import read_bytes
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.worker.build import inputs
from raggrid.worker.train_phase import TrainedPhase, train
from tests.cli.called import called
from tests.conftest import SpaceMaker
from tests.trials import done, phase_task, prepared_run

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh() -> None:
    inputs.cache_clear()


def joint(space: SearchSpace, folder: Path, say: Callable[[str], None] = lambda _: None) -> TrainedPhase:
    return train(space, folder, phase="joint_rag", embedder_lr=1e-3, generator_lr=1e-3, say=say)


def test_it_trains_as_a_trial_of_a_study_and_says_what_happens(tmp_path: Path, make_space: SpaceMaker) -> None:
    said: list[str] = []
    made = joint(make_space(), tmp_path / "alone", said.append)
    (_, rung, last) = raggrid.load_run(tmp_path / "alone").curves.to_pylist()
    reports = done(phase_task("joint_rag"), prepared_run(tmp_path / "study", make_space()))
    assert [(row["step"], row["objective"], row["recall_at_k"]) for row in (rung, last)] == [
        (report.step, report.objective, report.recall_at_k) for report in reports
    ]
    assert (made.steps, made.objective) == (6, reports[-1].objective)
    assert made.objective_before is not None
    assert made.objective_before != made.objective
    assert raggrid.load_run(tmp_path / "alone").steps["step"].to_pylist() == [1, 2, 3, 4, 5, 6]
    text = "\n".join(said)
    assert "Phase joint_rag, loss rag_token: trains the embedder at 1e-3, generator at 1e-3, seed 0." in text
    assert "6 steps of 2 questions." in text
    assert "Device: cpu" in text
    assert f"step 0: objective {made.objective_before:.4g}, recall@1 " in text
    assert f"After 6 steps: objective {made.objective:.4g}, recall@1 " in text
    assert f"Tuned embedder: {made.folders['embedder']}" in text
    again: list[str] = []
    assert joint(make_space(), tmp_path / "alone", again.append) == made
    assert not [line for line in again if line.startswith("step ")]  # nothing is trained twice


def test_a_tuned_embedder_is_a_folder_of_sentence_transformers(tmp_path: Path, make_space: SpaceMaker) -> None:
    from sentence_transformers import SentenceTransformer

    space = make_space()
    folder = train(space, tmp_path / "r", phase="embedder_labels", embedder_lr=1e-3).folders["embedder"]
    theirs = SentenceTransformer(folder, device="cpu").encode_query(["Who wrote it?"])
    ours = load_tuned_embedder(Path(folder), space.models, CPU).encode_questions(["Who wrote it?"])
    base = SentenceTransformer(space.models.embedder, device="cpu").encode_query(["Who wrote it?"])
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(theirs - base).max() > 1e-3


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_tuned_generator_is_a_model_of_transformers_or_an_adapter_of_peft(
    tmp_path: Path, make_space: SpaceMaker, tuning: str
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    space = make_space(training={"generator": tuning})
    made = train(space, tmp_path / "r", phase="generator_rag", generator_lr=3e-3)
    folder, ids = made.folders["generator"], torch.tensor([[5, 6, 7]])
    stock = AutoModelForCausalLM if tuning == "full" else AutoPeftModelForCausalLM
    with torch.no_grad():
        theirs = stock.from_pretrained(folder)(input_ids=ids).logits
        ours = load_tuned(Path(folder), space.models, CPU).model(input_ids=ids).logits
        base = AutoModelForCausalLM.from_pretrained(space.models.generator)(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (theirs - base).abs().max() > 1e-3


@pytest.mark.slow
def test_a_killed_run_continues_with_the_same_call_to_the_bit(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = joint(make_space(), tmp_path / "straight")
    said: list[str] = []

    def die(text: str) -> None:
        if text.startswith("step 5:"):
            raise KeyboardInterrupt

    monkeypatch.setattr(SaveClock, "is_due", lambda _: True)
    inputs.cache_clear()
    with pytest.raises(KeyboardInterrupt):
        joint(make_space(), tmp_path / "killed", die)
    continued = joint(make_space(), tmp_path / "killed", said.append)
    assert "Continuing after step 4." in said
    assert (continued.objective, continued.objective_before) == (straight.objective, straight.objective_before)
    kept = [RunDirectory(tmp_path / name).files for name in ("straight", "killed")]
    name = f"checkpoints/{straight.trial_id}/embedder/model.safetensors"
    assert read_bytes(kept[0], name) == read_bytes(kept[1], name)
    (row,) = read(tmp_path / "killed", TrialRecord)
    assert (row.status, row.attempts) == ("completed", 2)


def test_a_second_rate_shares_the_folder_and_another_space_is_refused(tmp_path: Path, make_space: SpaceMaker) -> None:
    joint(make_space(), tmp_path / "r")
    said: list[str] = []
    train(make_space(), tmp_path / "r", phase="generator_rag", generator_lr=1e-4, say=said.append)
    assert not [line for line in said if line.startswith("Embedding")]
    assert len(read(tmp_path / "r", TrialRecord)) == 2
    with pytest.raises(RecordError, match=r"training.rag.steps: recorded 6, now 7"):
        joint(make_space(training={"rag": {"steps": 7}}), tmp_path / "r")


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"phase": "embeder_rag"}, ["phase: got 'embeder_rag'; expected one of", "Did you mean 'embedder_rag'?"]),
        ({"phase": "joint_rag", "embedder_lr": 1e-5}, ["generator_lr: got none; expected a learning rate"]),
        ({"phase": "embedder_labels", "embedder_lr": 1e-5, "generator_lr": 1e-4}, ["generator_lr: got 0.0001;"]),
        ({"phase": "embedder_labels", "embedder_lr": 1e-5, "loss": "rag_token"}, ["has its own, mnr"]),
        (
            {"phase": "generator_rag", "loss": "mse"},
            ["loss: got 'mse'; expected one of rag_token", "generator_lr: got"],
        ),
        ({"phase": "generator_rag", "generator_lr": 2.0}, ["generator_lr: got 2; expected a number above 0"]),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path, make_space: SpaceMaker, given: dict[str, object], messages: list[str]
) -> None:
    with pytest.raises(InputError) as refused:
        train(make_space(), tmp_path / "r", **given)  # type: ignore[arg-type]
    assert all(message in str(refused.value) for message in messages)
    assert not (tmp_path / "r").exists()


def test_labels_are_needed_by_their_phase_alone(tmp_path: Path, make_space: SpaceMaker, world_folder: Path) -> None:
    folder = tmp_path / "world"
    folder.mkdir()
    for file in world_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    (folder / "train.jsonl").write_text("".join(json.dumps({**row, "context_ids": []}) + "\n" for row in rows))
    space = make_space(data={"folder": str(folder)})
    with pytest.raises(InputError, match="needs context labels; 80 of 80 training questions have none") as refused:
        train(space, tmp_path / "r", phase="embedder_labels", embedder_lr=1e-4)
    assert isinstance(refused.value, InputError | DataError)
    assert train(space, tmp_path / "r", phase="generator_rag", generator_lr=1e-4).steps == 6


def test_divergence_is_an_error_that_stays(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = Trainer._backward
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_backward", lambda *given: backward(*given) * float("nan"))
        with pytest.raises(StudyError, match="diverged at step 1: got loss nan"):
            joint(make_space(), tmp_path / "r")
    with pytest.raises(StudyError, match="diverged at step 1: got loss nan"):
        joint(make_space(), tmp_path / "r")


RUN = """
import sys
from raggrid.cli import main
sys.argv = ["raggrid", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
sys.exit("ray was imported" if any(name == "ray" or name.startswith("ray.") for name in sys.modules) else 0)
"""


@pytest.mark.slow
def test_the_verb_trains_without_ray(tmp_path: Path, make_space: SpaceMaker) -> None:
    (tmp_path / "s.yaml").write_text(dump_space(make_space()))
    words = ["train", "s.yaml", "--phase", "generator_rag", "--generator-lr", "1e-3", "-o", "out"]
    finished = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "Tuned generator: " in finished.stdout
    assert "Loading weights" not in finished.stderr


def test_the_verb_asks_for_the_rates_that_a_phase_needs(tmp_path: Path, make_space: SpaceMaker) -> None:
    (tmp_path / "s.yaml").write_text(dump_space(make_space()))
    refused = called("train", "s.yaml", "--phase", "joint_rag", "-o", "other", cwd=tmp_path)
    assert refused.returncode == 2
    assert [line.partition(":")[0] for line in refused.stderr.splitlines()] == ["--embedder-lr", "--generator-lr"]
