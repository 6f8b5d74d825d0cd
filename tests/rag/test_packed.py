"""Prompts packed into one row: the scores and gradients of transformers' own model on each text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from raggrid.demo import make_world
from raggrid.rag.adapters import add_lora
from raggrid.rag.chat import Ids
from raggrid.rag.generator import Generator
from raggrid.rag.products import paired_rows
from raggrid.rag.reading.attention import share_keys
from raggrid.rag.reading.packed import _alike, allow_packing, can_pack, pack, read_packed
from raggrid.rag.reading.prefix import read_in_parts
from raggrid.rag.reading.scores import score_packed
from raggrid.space.settings import Models
from raggrid.space.tuning import Training
from tests.rag.test_prefix import ANSWERS, CPU, PROMPTS, SHARED, tokens_read
from tests.tiny import save_generator

LORA = Training(lora_rank=4, lora_alpha=4)
UNLIKE = ("Who rules?\nA:", "Ann lives in Rome.\nWhere does Ann live?\nA:", "b\nA:", "Who paints?\nA:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_models: tuple[Path, Path]) -> Path:
    """The tiny generator's tokens, and random weights whose heads share keys."""
    folder, source = tmp_path_factory.mktemp("shares_keys"), load(tiny_models[1])
    config = {**source.model.config.to_dict(), "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(folder)
    source.tokens.tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, dtype: Any = "float32", attention: Any = "eager") -> Generator:
    models = Models(embedder="e", generator=str(folder), dtype=dtype, attention=attention)
    return Generator.load(folder, models, CPU)


def one_by_one(generator: Generator, prompts: Sequence[str], answers: Sequence[str]) -> list[torch.Tensor]:
    """The log-probabilities of each answer's tokens, by the model alone."""
    rows = []
    for head, tail in generator.tokens.pairs(prompts, answers):
        logits = generator.model(input_ids=torch.tensor([head + tail])).logits[0]
        places = torch.arange(len(head) - 1, len(head) + len(tail) - 1)
        rows.append(logits.float().log_softmax(-1)[places, torch.tensor(tail)])
    return rows


@pytest.mark.parametrize("prompts", [PROMPTS, UNLIKE, PROMPTS[:1], (PROMPTS[1],) * 4])
def test_scores_are_those_of_each_text_alone(folder: Path, prompts: tuple[str, ...]) -> None:
    generator = load(folder)
    assert can_pack(generator.model)
    with torch.no_grad():
        scored = generator.score(prompts, ANSWERS[: len(prompts)])
        alone = one_by_one(load(folder, attention="sdpa"), prompts, ANSWERS[: len(prompts)])
    for row, mask, expected in zip(scored.token_logprobs, scored.answer_mask, alone, strict=True):
        torch.testing.assert_close(row[mask], expected, rtol=1e-5, atol=1e-5)
        assert mask.tolist() == [False] * (len(mask) - len(expected)) + [True] * len(expected)
        assert not row[~mask].any()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_of_adapters_are_those_of_each_text_alone(folder: Path, checkpointed: bool) -> None:
    generator, other = load(folder), load(folder, attention="sdpa")
    for each in (generator, other):
        add_lora(each, LORA, 0)
        torch.manual_seed(0)
        for name, parameter in each.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
    if checkpointed:
        generator.checkpoint_activations()
    weights = torch.tensor([0.1, 0.4, 0.2, 0.3])
    scored = generator.score(PROMPTS, ANSWERS)
    (weights * scored.token_logprobs.sum(-1)).sum().backward()
    sum(w * row.sum() for w, row in zip(weights, one_by_one(other, PROMPTS, ANSWERS), strict=True)).backward()
    expected = {name: p.grad for name, p in other.model.named_parameters() if p.grad is not None}
    assert expected
    for name, parameter in generator.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_in_bfloat16_scores_are_as_near_to_float32_as_those_of_each_text_alone(folder: Path) -> None:
    with torch.no_grad():
        exact = torch.cat(one_by_one(load(folder), PROMPTS, ANSWERS))
        low = load(folder, "bfloat16")
        assert can_pack(low.model)
        scored = low.score(PROMPTS, ANSWERS)
        alone = torch.cat(one_by_one(load(folder, "bfloat16", "sdpa"), PROMPTS, ANSWERS))
    packed = scored.token_logprobs[scored.answer_mask]
    assert (packed - exact).norm() < 1.5 * (alone - exact).norm()


def test_a_row_has_the_common_beginning_once_and_no_padding() -> None:
    pairs: list[tuple[Ids, Ids]] = [([1, 2, 3, 4], [9, 8]), ([1, 2, 5], [7, 6, 8]), ([1, 2, 3], [8])]
    packed = pack(pairs, CPU)
    assert packed.ids.tolist() == [[1, 2, 3, 4, 9, 5, 7, 6, 3]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 2]]
    assert packed.parts.lengths == (2, 3, 3, 1)
    assert packed.before.tolist() == [3, 4, 5, 6, 7, 8]
    assert packed.causal_mask(torch.float32)[0, 0].isfinite().all()
    assert (packed.causal_mask(torch.float32)[0, 0] == 0).tolist() == torch.ones(5, 5).tril().bool().tolist()


def test_the_loss_on_the_prompt_and_models_that_attend_otherwise_are_padded(
    folder: Path, tiny_models: tuple[Path, Path]
) -> None:
    generator, seen = load(folder), list[Any]()
    generator.model.register_forward_pre_hook(lambda *given: seen.append(given[2].get("parts")), with_kwargs=True)
    padded = generator.score(PROMPTS, ANSWERS, with_context=True)
    packed = generator.score(PROMPTS, ANSWERS)
    assert [bool(parts) for parts in seen] == [False, True]
    assert padded.context_nll is not None
    torch.testing.assert_close(
        packed.token_logprobs[packed.answer_mask], padded.token_logprobs[padded.answer_mask], rtol=1e-5, atol=1e-5
    )
    assert not can_pack(load(folder, attention="sdpa").model)
    assert not can_pack(load(tiny_models[1]).model)  # each of its heads has keys of its own


def with_logits(generator: Generator, work: Callable[[], Any]) -> tuple[Any, torch.Tensor]:
    """What some work makes, and all the logits that the model computes meanwhile, row by row."""
    rows: list[torch.Tensor] = []
    output = generator.model.get_output_embeddings()
    hook = output.register_forward_hook(lambda _, __, made: rows.append(made.flatten(0, -2)))
    done = work()
    hook.remove()
    return done, torch.cat(rows)


@pytest.mark.parametrize("adapted", [False, True])
def test_keys_and_values_have_the_bits_of_padded_prompts(tmp_path: Path, adapted: bool) -> None:
    """An export reads whole prompts, padded. Sums in bfloat16 depend on where a text begins, and products on their
    number of rows, though not in models as narrow as the tiny ones."""
    generator = load(save_generator(tmp_path / "wide", make_world(0, num_entities=40), "wide"), "bfloat16")
    if adapted:
        add_lora(generator, LORA, 0)
        for name, parameter in generator.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    prompts = [f"{SHARED}{'Ann paints. ' * (place // 3)}{'x ' * place}\nA:" for place in range(14)]
    heads = sorted(generator.tokens.prompts(prompts), key=len)
    assert len({len(head) % 16 for head in heads}) > 4
    with torch.no_grad(), generator._precision(), paired_rows(generator.model):
        ids, attention = generator._padded(heads, left=True, multiple=16)
        (whole, _, expected), padded = with_logits(
            generator, lambda: read_in_parts(generator.model, ids, attention, None, 3)
        )
        (first, found), packed = with_logits(generator, lambda: read_packed(generator.model, heads, ids.shape[1], 3))
    assert first.tolist() == whole[:, -1].tolist()
    assert torch.equal(packed, padded[[*chain(*_alike(heads))]])
    for one, other in zip(found.layers, expected.layers, strict=True):
        seen = attention.bool()[:, None, :, None].expand_as(other.keys)
        assert torch.equal(one.keys[seen], other.keys[seen])
        assert torch.equal(one.values[seen], other.values[seen])


def test_in_bfloat16_prompts_of_one_length_share_their_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load(folder, "bfloat16")
    prompts = [f"{SHARED}{name} lives in Rome.\nA:" for name in ("Ann", "Bob", "Eve", "Tom")] * 3
    heads = generator.tokens.prompts(prompts)
    read = tokens_read(generator)
    texts = generator.generate(prompts, max_new_tokens=4)
    assert read[0] < sum(map(len, heads)) / 2
    monkeypatch.setattr("raggrid.rag.generator.can_pack", lambda _: False)
    assert generator.generate(prompts, max_new_tokens=4) == texts


KINDS = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "granite", "olmo2", "smollm3", "mixtral", "qwen3_moe")
UNABLE = ("stablelm", "nemotron", "doge")  # none of them hands on to its attention what it does not know


@pytest.mark.parametrize("kind", [*KINDS, *UNABLE])
def test_architectures_are_packed_that_can_be(kind: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, pad_token_id=0, sliding_window=None,
        num_local_experts=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    pairs: list[tuple[Ids, Ids]] = [([5, 6, 7, 8, 9], [11, 12]), ([5, 6, 20], [30, 31, 32]), ([5, 6, 7, 8, 41], [13])]
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([head + tail])).logits[0].log_softmax(-1) for head, tail in pairs]
        share_keys(model)
        allow_packing(model)
        assert can_pack(model) == (kind in KINDS)
        if can_pack(model):
            scored = score_packed(model, pairs, torch.float32)
            for (head, tail), row, expected in zip(pairs, scored.token_logprobs, rows, strict=True):
                alone = expected[torch.arange(len(head) - 1, len(head) + len(tail) - 1), torch.tensor(tail)]
                torch.testing.assert_close(row[-len(tail) :], alone, rtol=1e-5, atol=1e-5)
