"""An engine beside the default one writes the same texts: with adapters, with all weights tuned, behind examples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from raggrid.demo import make_world
from raggrid.errors import ModelError
from raggrid.rag.adapters import add_lora, load_tuned
from raggrid.rag.engines import vllm_engine
from raggrid.rag.engines.engine import check_adapters, check_engine
from raggrid.rag.engines.vllm_engine import SHORTEST, Served, VllmEngine, lacks_adapters, release, tokens_of
from raggrid.rag.generator import Generator
from raggrid.space.settings import Answer, Models
from raggrid.space.tuning import Training
from tests.rag.test_generator import CPU
from tests.stand_in_vllm import LLM, put_in_place
from tests.tiny import make_chat, save_generator

WORLD = make_world(0, num_entities=120)
PROMPTS = [f"{each.question}\nA:" for each in WORLD.splits["train"][:6]]
SHOWN = (("Who wrote to me?\nA:", "nobody"), ("Where is it?\nA:", "in town"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LLM]]:
    """What vLLM was started with; nothing of it is left."""
    yield put_in_place(monkeypatch)
    release()


@pytest.fixture(scope="module")
def lively(tiny_models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny generator with larger weights: it writes other tokens after other prompts."""
    folder = tmp_path_factory.mktemp("lively")
    model = AutoModelForCausalLM.from_pretrained(tiny_models[1], dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8.0 if weight.ndim == 2 else 1.0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_models[1]).save_pretrained(folder)
    return folder


def models(generator: Path) -> Models:
    return Models(embedder="none", generator=str(generator), dtype="float32", attention="eager")


def served(generator: Path | str, lora_rank: int | None = None) -> Served:
    return Served(model=str(generator), dtype="float32", lora_rank=lora_rank, device=CPU)


def made(what: Served, adapter: Path | None = None, *, longest: int = 1) -> VllmEngine:
    return VllmEngine(what, tokens_of(what, "auto"), adapter, longest=longest)


def adapter_of(generator: Path, folder: Path, seed: int, *, rank: int = 4) -> Path:
    """A saved adapter whose texts are not those of its base."""
    tuned = Generator.load(str(generator), models(generator), CPU)
    add_lora(tuned, Training(lora_rank=rank, lora_alpha=64), seed)
    with torch.no_grad():
        for name, weight in tuned.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
    tuned.save(folder)
    return folder


@pytest.mark.parametrize("examples", [(), SHOWN])
@pytest.mark.parametrize("kind", ["plain", "chat"])
def test_texts_are_those_of_the_default_engine(
    started: list[LLM], lively: Path, tmp_path: Path, kind: str, examples: tuple[tuple[str, str], ...]
) -> None:
    model = make_chat(tmp_path / "chat", lively) if kind == "chat" else lively
    own = Generator.load(str(model), models(model), CPU)
    engine = made(served(model))
    assert (engine.tokens.chat, engine.tokens.stops) == (own.tokens.chat, own.tokens.stops)
    assert engine.tokens.tokenizer.pad_token_id == own.tokens.tokenizer.pad_token_id
    expected = own.generate(PROMPTS, max_new_tokens=8, examples=examples)
    assert engine.generate(PROMPTS, max_new_tokens=8, examples=examples) == expected
    assert len({*expected}) > 1
    assert engine.generate([], max_new_tokens=8) == []


def test_adapters_share_one_base(started: list[LLM], lively: Path, tmp_path: Path) -> None:
    model, texts = lively, list[list[str]]()
    for seed in (1, 2):
        folder = adapter_of(model, tmp_path / str(seed), seed)
        engine = made(served(model, lora_rank=4), folder)
        texts.append(engine.generate(PROMPTS, max_new_tokens=8))
        assert texts[-1] == load_tuned(folder, models(model), CPU).generate(PROMPTS, max_new_tokens=8)
    untuned = made(served(model, lora_rank=4))
    texts.append(untuned.generate(PROMPTS, max_new_tokens=8))
    assert texts[0] != texts[1] != texts[2] != texts[0]
    assert len(started) == 1
    assert (started[0].max_lora_rank, len(started[0].adapters)) == (8, 2)


def test_another_model_ends_the_one_before(started: list[LLM], tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    other = save_generator(tmp_path / "other", WORLD, "gpt2")
    for model in (tiny_models[1], other):
        own = Generator.load(str(model), models(model), CPU)
        engine = made(served(model))
        assert engine.generate(PROMPTS, max_new_tokens=4) == own.generate(PROMPTS, max_new_tokens=4)
    assert [llm.llm_engine.engine_core.is_up for llm in started] == [False, True]
    release()
    assert not started[1].llm_engine.engine_core.is_up


def test_there_is_room_for_the_longest_prompt_and_no_more_than_the_model_reads(
    started: list[LLM], tiny_models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(served(tiny_models[1]))
    assert started[0].max_model_len == 512 < SHORTEST  # what the tiny model reads at most
    release()
    monkeypatch.setattr(vllm_engine, "SHORTEST", 16)
    engine = made(served(tiny_models[1]), longest=33)
    longest = max(map(len, engine.tokens.prompts(PROMPTS)))
    assert started[1].max_model_len == 64
    engine.generate(PROMPTS, max_new_tokens=65 - longest)
    assert [llm.max_model_len for llm in started] == [512, 64, 128]


def test_what_is_longer_than_the_model_reads_starts_nothing_anew(started: list[LLM], lively: Path) -> None:
    engine = made(served(lively))
    whole = engine.generate(PROMPTS[:1], max_new_tokens=600)
    assert engine.generate(PROMPTS[:1], max_new_tokens=700) == whole
    assert [llm.max_model_len for llm in started] == [512]


def test_what_vllm_puts_into_the_environment_does_not_stay(started: list[LLM], lively: Path) -> None:
    before = dict(os.environ)
    made(served(lively))
    assert dict(os.environ) == before


def test_a_model_without_adapters_is_refused_by_its_architecture(
    started: list[LLM], tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    other = save_generator(tmp_path / "other", WORLD, "gpt2")
    check_adapters(models(tiny_models[1]), lacks_adapters)
    with pytest.raises(
        ModelError, match=r"got vllm with training.generator: lora; vLLM has no adapters for GPT2LMHead"
    ):
        check_adapters(models(other), lacks_adapters)
    assert not lacks_adapters(["NewForCausalLM"])  # made of transformers' own
    with pytest.raises(RuntimeError, match="initialization failed"):
        made(served(other, lora_rank=4))


def test_an_encoder_decoder_is_refused(tmp_path: Path, tiny_models: tuple[Path, Path]) -> None:
    model = save_generator(tmp_path / "t5", WORLD, "t5")
    check_engine(Answer(), models(model))
    check_engine(Answer(engine="vllm"), models(tiny_models[1]))
    with pytest.raises(ModelError, match=r"answer.engine: got vllm; vLLM has no encoder-decoders such as '.*t5'"):
        check_engine(Answer(engine="vllm"), models(model))
