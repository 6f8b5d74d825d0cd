"""An export answers as its study did, through stock libraries alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import faiss
import pytest
import torch
import yaml
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

import raggrid
from raggrid.demo import make_world
from raggrid.errors import InputError, RecordError
from raggrid.export.load import TunedPipeline
from raggrid.export.parity import certified
from raggrid.export.write_export import Export, write_export
from raggrid.store.tables import write_environment
from tests.alone import assert_alone_as_together
from tests.conftest import SpaceMaker
from tests.exported import finished
from tests.tiny import make_chat, save_generator


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Export:
    """The joint pipeline, whose answers a process of stock libraries has given again."""
    folder = tmp_path_factory.mktemp("joint") / "out"
    return write_export(run, folder, strategy="joint", command="raggrid export study -o out")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["independent", "two_phase"])
def test_every_answer_of_other_strategies_is_the_recorded_one(tmp_path: Path, run: Path, strategy: str) -> None:
    assert_equal_answers(write_export(run, tmp_path / "out", strategy=strategy))


@pytest.mark.slow
def test_every_answer_is_the_recorded_one_in_a_process_without_raggrid(joint: Export) -> None:
    assert_equal_answers(joint)


def assert_equal_answers(made: Export) -> None:
    assert made.parity is not None
    assert (made.parity.num_questions, made.parity.num_differ, made.parity.num_retrieved_differ) == (8, 0, 0)
    assert made.parity.f1 == made.parity.f1_recorded
    assert json.loads((made.folder / "parity.json").read_text())["num_differ"] == 0


@pytest.mark.slow
def test_a_changed_answer_is_found(tmp_path: Path, run: Path) -> None:
    made = write_export(run, tmp_path / "out", strategy="joint", check=False)
    file = made.folder / "evaluated.json"
    recorded = json.loads(file.read_text())
    recorded["questions"][2] |= {"prediction": "another answer", "retrieved_ids": ["p0", "p1"]}
    file.write_text(json.dumps(recorded))
    parity = certified(made.folder)
    assert (parity.num_differ, parity.num_differ_in_study_batches, parity.num_retrieved_differ) == (1, 1, 1)
    assert parity.examples[0][:2] == (recorded["questions"][2]["id"], "another answer")
    assert parity.sentences[0].startswith("Parity: 7 of 8 answers are equal")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"generator": "full"}, "models": {"dtype": "bfloat16"}},
        {"training": {"generator": "lora"}, "answer": {"top_k": 2}},
        {"training": {"generator": "lora", "embedder": "lora"}, "models": {"question_prompt": "query: "}},
    ],
    ids=["full in bfloat16", "merged in float32", "adapters on both"],
)
def test_whatever_was_tuned_answers_the_same(
    tmp_path: Path, make_space: SpaceMaker, changes: dict[str, object]
) -> None:
    made = write_export(finished(tmp_path / "run", make_space(**changes), ("joint",)), tmp_path / "out")
    assert made.parity is not None
    assert (made.parity.num_differ, made.parity.num_retrieved_differ) == (0, 0)
    assert (made.folder / "generator" / "merged" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_chat_template_answers_the_same(
    tmp_path: Path, make_space: SpaceMaker, tiny_models: tuple[Path, Path]
) -> None:
    chat = make_chat(tmp_path / "chat", tiny_models[1])
    space = make_space(models={"generator": str(chat)}, training={"generator": "full"})
    made = write_export(finished(tmp_path / "run", space, ("generator",)), tmp_path / "out")
    how = json.loads((made.folder / "pipeline.json").read_text())
    assert (how["chat"], how["threads"]) == (True, space.resources.cpus_per_worker)
    assert made.parity is not None
    assert made.parity.num_differ == 0


@pytest.mark.slow
def test_an_encoder_decoder_answers_the_same(tmp_path: Path, make_space: SpaceMaker) -> None:
    model = save_generator(tmp_path / "model", make_world(0, num_entities=120), "t5")
    space = make_space(models={"generator": str(model), "dtype": "bfloat16"}, training={"generator": "lora"})
    made = write_export(finished(tmp_path / "run", space, ("generator",)), tmp_path / "out")
    how = json.loads((made.folder / "pipeline.json").read_text())
    assert (how["padding_side"], how["decoder_prefix"][0]) == ("right", how["generation"]["decoder_start_token_id"])
    assert made.parity is not None
    assert made.parity.num_differ == 0
    recorded = json.loads((made.folder / "evaluated.json").read_text())
    assert any(row["prediction"] for row in recorded["questions"])  # equal, and not by being empty


def test_one_question_and_a_batch_have_the_same_answers(tmp_path: Path, run: Path) -> None:
    made = write_export(run, tmp_path / "out", strategy="two_phase", check=False)
    tuned = TunedPipeline(made.folder)
    asked = [row["question"] for row in json.loads((made.folder / "evaluated.json").read_text())["questions"]]
    assert [tuned.answer([question])[0] for question in asked] == tuned.answer(asked)


def test_a_question_alone_gets_the_logits_of_a_batch(tmp_path: Path, run: Path) -> None:
    made = write_export(run, tmp_path / "out", strategy="baseline", check=False)
    save_generator(made.folder / "generator" / "base", make_world(0, num_entities=120), "wide")
    tuned = TunedPipeline(made.folder)
    tuned.how["max_new_tokens"] = 24
    rows = sorted(tuned.tokens(["Who rules the town?\nA:", "Ann lives in Rome.\nWhere does Ann live?\nA:"]), key=len)
    assert_alone_as_together(tuned.model, rows, lambda some: tuned.generate(some, min_new_tokens=24))


def test_each_part_is_what_its_library_loads(tmp_path: Path, run: Path) -> None:
    made = write_export(run, tmp_path / "out", strategy="joint", check=False)
    lines = (made.folder / "passages.jsonl").read_text().splitlines()
    assert faiss.read_index(str(made.folder / "index.faiss")).ntotal == len(lines) > 100
    assert SentenceTransformer(str(made.folder / "embedder"), device="cpu").encode_query("Who?").shape == (64,)
    adapter = json.loads((made.folder / "generator" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "../base"
    assert not (made.folder / "generator" / "merged").exists()
    assert "left out" in made.merged


def test_merged_weights_of_a_study_in_bfloat16_are_base_and_adapter_in_float32(
    tmp_path: Path, run: Path, tiny_models: tuple[Path, Path]
) -> None:
    made = write_export(run, tmp_path / "out", strategy="joint", check=False, merged=True)
    place = made.folder / "generator"
    assert json.loads((place / "merged" / "config.json").read_text())["dtype"] == "float32"
    assert "merged in float32" in made.merged
    base = AutoModelForCausalLM.from_pretrained(tiny_models[1], dtype=torch.float32)
    beside = PeftModel.from_pretrained(base, place / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(place / "merged").eval()
    ids = AutoTokenizer.from_pretrained(place)("Who wrote to me?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, beside(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_card_has_a_header_of_yaml_and_the_numbers(run: Path, joint: Export) -> None:
    text = (joint.folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["model-index"][0]["results"][0]["dataset"]["split"] == "test"
    assert "On the 8 questions of the test split" in text
    assert "Parity: 8 of 8 answers are equal" in text
    assert "raggrid export study -o out" in text
    assert str(joint.folder.parent) not in text.replace(str(run), "")


def test_the_pipeline_to_deploy_is_exported_unless_another_is_named(tmp_path: Path, run: Path) -> None:
    made = write_export(run, tmp_path / "out", check=False)
    assert raggrid.recommend([run]).deploy.pipeline_id == made.pipeline_id  # type: ignore[union-attr]


def test_what_cannot_be_exported_is_said(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match=r"strategy: got 'embeder'; expected one that is answered here: baseline, "):
        write_export(run, tmp_path / "out", strategy="embeder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match=r"output: got .*full, which holds files"):
        write_export(run, tmp_path / "full")
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "j")
    with pytest.raises(RecordError, match=r"the models of j, j are gone|the models of j are gone"):
        write_export(copy, tmp_path / "out", strategy="joint")
    assert not (tmp_path / "out").exists()


def test_a_study_from_before_prompts_were_padded_alike_is_asked_in_its_own_batches(tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    write_environment(copy, {"precision": {"dtype": "bfloat16", "attention": "eager", "reason": "as set"}})
    made = write_export(copy, tmp_path / "out", strategy="independent", check=False)
    recorded = json.loads((made.folder / "evaluated.json").read_text())
    fresh, reused = ([*batch["answered"]] for batch in [*recorded["asked_together"], {"answered": []}][:2])
    assert sorted(fresh + reused) == sorted(row["id"] for row in recorded["questions"])
    assert json.loads((made.folder / "pipeline.json").read_text())["pad_to"] is None
