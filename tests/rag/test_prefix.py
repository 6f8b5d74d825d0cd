"""What prompts begin with is read once: the same texts, scores and gradients as when each prompt is read alone."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from raggrid.demo import make_world
from raggrid.rag import generator as generators
from raggrid.rag.adapters import add_lora
from raggrid.rag.generator import Generator
from raggrid.rag.reading import prefix as prefixes
from raggrid.rag.reading.prefix import common_prefix
from raggrid.space.settings import Models
from raggrid.space.tuning import Training
from tests.tiny import make_chat, save_generator

CPU = torch.device("cpu")
KINDS = ("llama", "chat", "gpt2", "sliding", "t5", "bart")
SHARED = "You are a helpful expert of the town and of all that live in it. Answer in few words.\n"
PROMPTS = tuple(
    f"{SHARED}{text}\nA:"
    for text in ("Who rules?", "Ann lives in Rome and paints.\nWhere does Ann live?", "b", "Who paints the town hall?")
)
ANSWERS = ("Bob", "in Rome", "a long answer of many words", "Ann")
EXAMPLES = (("Who sings?\nA:", "Eve"), ("Who swims?\nA:", "Tom"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_models: tuple[Path, Path]) -> dict[str, Path]:
    root, world = tmp_path_factory.mktemp("kinds"), make_world(0, num_entities=120)
    made = {kind: save_generator(root / kind, world, kind) for kind in ("gpt2", "t5", "bart")}
    sliding = _with_sliding_window(root / "sliding", tiny_models[1])
    return {"llama": tiny_models[1], "chat": make_chat(root / "chat", tiny_models[1]), "sliding": sliding, **made}


def _with_sliding_window(folder: Path, source: Path) -> Path:
    """A model whose tokens see the eight before them."""
    plain = load(source)
    config = {**plain.model.config.to_dict(), "model_type": "mistral", "architectures": None, "sliding_window": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MistralForCausalLM(MistralConfig(**config)).save_pretrained(folder)
    plain.tokens.tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, dtype: Any = "float32") -> Generator:
    return Generator.load(folder, Models(embedder="e", generator=str(folder), dtype=dtype), CPU)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Within its context every prompt is read whole."""
    with monkeypatch.context() as patched:
        yield patched


def tokens_read(generator: Generator) -> list[int]:
    """How many ids enter each of the model's passes from now on, padding included."""
    read: list[int] = []
    generator.model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(given.get("input_ids", torch.empty(0)).numel()), with_kwargs=True
    )
    return read


@pytest.mark.parametrize("examples", [(), EXAMPLES])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_prompts_answered_one_by_one(
    folders: dict[str, Path], kind: str, examples: tuple[tuple[str, str], ...]
) -> None:
    generator = load(folders[kind])
    expected = [generator.generate([prompt], max_new_tokens=6, examples=examples)[0] for prompt in PROMPTS]
    read = tokens_read(generator)
    assert generator.generate(PROMPTS, max_new_tokens=6, batch_size=3, examples=examples) == expected
    if examples and kind in ("llama", "chat", "gpt2"):
        heads = generator.tokens.prompts(PROMPTS, examples)
        shared = len(common_prefix(heads))
        assert shared > 20
        assert read[0] == shared
        assert sum(read[:2]) < max(map(len, heads)) * 2 + shared  # no pass reads the beginning again


@pytest.mark.parametrize("kind", ["llama", "chat", "gpt2"])
@pytest.mark.parametrize("length", [1, 6])
def test_texts_do_not_depend_on_how_many_prompts_are_read_at_once(
    folders: dict[str, Path], kind: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load(folders[kind])
    together = generator.generate(PROMPTS, max_new_tokens=length)
    monkeypatch.setattr(prefixes, "READ_AT_ONCE_IN_FLOAT32", 1)
    read = tokens_read(generator)
    assert generator.generate(PROMPTS, max_new_tokens=length) == together
    assert len(read) >= 1 + len(PROMPTS) + length - 1  # the beginning, each prompt, each token after its first
    heads = generator.tokens.prompts(PROMPTS)
    known = len(common_prefix(heads))
    assert sorted(read[1 : 1 + len(heads)]) == sorted(len(head) - known for head in heads)  # no padding is read


def test_no_prompts_have_no_answers(folders: dict[str, Path]) -> None:
    assert load(folders["llama"]).generate([], max_new_tokens=3) == []


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gradients_are_those_of_whole_prompts(
    folders: dict[str, Path], kind: str, alone: pytest.MonkeyPatch
) -> None:
    generator = load(folders[kind])
    add_lora(generator, Training(lora_rank=4, lora_alpha=4), 0)
    torch.manual_seed(0)
    for name, parameter in generator.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)

    def scored() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = generator.score(PROMPTS * 2, ANSWERS * 2)
        logprobs = found.token_logprobs.masked_fill(~found.answer_mask, 0.0)
        logprobs.sum().backward()
        gradients = {n: p.grad for n, p in generator.model.named_parameters() if p.grad is not None}
        generator.model.zero_grad(set_to_none=True)
        return logprobs.detach(), gradients

    read = tokens_read(generator)
    logprobs, gradients = scored()
    assert len(read) == (2 if kind in ("llama", "chat", "gpt2") else 1)
    alone.setattr(generators, "read_prefix", lambda *_: None)
    whole, expected = scored()
    torch.testing.assert_close(logprobs, whole, rtol=1e-5, atol=1e-5)
    assert expected
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)


def test_a_loss_on_the_prompt_and_few_prompts_read_all_of_them(folders: dict[str, Path]) -> None:
    generator = load(folders["llama"])
    read = tokens_read(generator)
    generator.score(PROMPTS * 2, ANSWERS * 2, with_context=True)
    generator.score(PROMPTS, ANSWERS)  # too few for a pass of their own
    assert len(read) == 2


@pytest.mark.parametrize("rows", [[[1, 2, 3], [1, 2, 4], [1, 2]], [[1], [2]], [[5, 6]], [[1, 2], [1, 2]], [[], [1]]])
def test_the_common_prefix_is_the_standard_librarys(rows: list[list[int]]) -> None:
    assert common_prefix(rows) == list(os.path.commonprefix(rows))  # noqa: RUF071 -- not of paths here


def test_adapters_compute_in_the_type_of_their_base_and_stay_float32(folders: dict[str, Path]) -> None:
    """Each once cast its input to float32 and kept it for the backward pass."""
    generator = load(folders["llama"], "bfloat16")
    add_lora(generator, Training(lora_rank=4, lora_alpha=4), 0)
    adapters = {name: part for name, part in generator.model.named_modules() if name.endswith("lora_A.default")}
    seen = []
    for part in adapters.values():
        part.register_forward_hook(lambda _part, given, made: seen.append((given[0].dtype, made.dtype)))
    found = generator.score(PROMPTS, ANSWERS)
    found.token_logprobs[found.answer_mask].sum().backward()
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}
    trained = {name: p for name, p in generator.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.grad.dtype for p in trained.values() if p.grad is not None} == {torch.float32}
