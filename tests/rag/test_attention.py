"""Attention without copies of shared keys: the numbers and gradients of transformers' own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import eager_attention_forward

from raggrid.rag.reading.attention import SHARED_KEYS, share_keys, shared_attention


def llama(heads_with_keys: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=heads_with_keys, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("heads_with_keys", [1, 2])
def test_attention_to_shared_keys_is_transformers_own(heads_with_keys: int) -> None:
    subject, ids = llama(heads_with_keys), torch.randint(0, 50, (3, 9))
    attention = torch.ones_like(ids)
    attention[0, :4] = 0  # padded on the left

    def passed() -> tuple[torch.Tensor, list[torch.Tensor]]:
        subject.zero_grad()
        logits = subject(input_ids=ids, attention_mask=attention).logits[attention.bool()]
        logits.log_softmax(-1)[:, 7].sum().backward()
        return logits.detach(), [p.grad.clone() for p in subject.parameters() if p.grad is not None]

    logits, gradients = passed()
    share_keys(subject)
    assert subject.config._attn_implementation == SHARED_KEYS
    shared, others = passed()
    torch.testing.assert_close(shared, logits, rtol=1e-5, atol=1e-6)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_attention_of_other_kinds_stays() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, attn_implementation="eager"))
    for subject in (llama(4), gpt2):
        share_keys(subject)
        assert subject.config._attn_implementation == "eager"


@pytest.mark.parametrize(("length", "keys"), [(1, 64), (1, 1024), (1, 1120), (1, 2048), (5, 1120)])
def test_in_bfloat16_shared_keys_give_the_bits_of_transformers_own_attention(length: int, keys: int) -> None:
    """An export decodes with the model's own attention."""
    torch.manual_seed(0)
    query = torch.randn(4, 9, length, 64).bfloat16()
    key, value = (torch.randn(4, 3, keys, 64).bfloat16() for _ in range(2))
    module = SimpleNamespace(num_key_value_groups=3, training=False)
    own = eager_attention_forward(module, query, key, value, None, scaling=0.125)[0]
    assert torch.equal(shared_attention(module, query, key, value, None, scaling=0.125)[0], own)


@pytest.mark.parametrize("scaling", [0.125, 0.3])
def test_in_bfloat16_gradients_are_as_exact_as_those_of_transformers_own_attention(scaling: float) -> None:
    """With nothing in float32 kept for them."""
    torch.manual_seed(0)
    given = [torch.randn(2, heads, 40, 64).bfloat16() for heads in (9, 3, 3)]  # queries, keys, values
    mask = torch.zeros(2, 1, 40, 40).masked_fill(torch.ones(40, 40).triu(1).bool(), -1e30)
    upstream, module = torch.randn(2, 40, 9, 64), SimpleNamespace(num_key_value_groups=3, training=False)
    kept: list[torch.dtype] = []

    def errors(attention: Any, dtype: torch.dtype, exact: list[torch.Tensor]) -> list[float]:
        return [float((g - e).norm() / e.norm()) for g, e in zip(gradients(attention, dtype), exact, strict=True)]

    def gradients(attention: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        kept.clear()
        each = [tensor.to(dtype, copy=True).requires_grad_() for tensor in given]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            attention(module, *each, mask.to(dtype), scaling=scaling)[0].backward(upstream.to(dtype))
        return [tensor.grad.double() for tensor in each if tensor.grad is not None]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.dtype)
        return tensor

    exact = gradients(exact_attention, torch.float64)
    theirs = errors(eager_attention_forward, torch.bfloat16, exact)
    assert torch.float32 in kept
    ours = errors(shared_attention, torch.bfloat16, exact)
    assert set(kept) == {torch.bfloat16}
    assert all(one < 1.1 * other for one, other in zip(ours, theirs, strict=True))


def exact_attention(
    _: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> tuple[torch.Tensor]:
    key, value = (each.repeat_interleave(3, dim=1) for each in (key, value))
    weights = (query @ key.transpose(2, 3) * scaling + mask).softmax(-1)
    return ((weights @ value).transpose(1, 2),)
