"""Attention on CPUs without copies of what several heads share, of rows that are padded or of texts that are packed.

B rows, H heads, G of them with keys and values of their own, L queries, S keys, D values in each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from raggrid.rag.precision import ALIGNED

SHARED_KEYS, PACKED = "shared_keys", "shared_keys_packed"  # the latter where texts may come packed
MOST_IN_ONE_SUM = 1024  # columns up to which oneDNN sums one row in bfloat16 as it does several (1,040 differ)


def share_keys(model: Any) -> None:
    """Let heads attend to shared keys and values without a copy of these for each, in place; the numbers stay.

    Only where heads share any and a model attends as Llama does: by a function that transformers repeats word for word.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask
    from transformers.models.llama.modeling_llama import eager_attention_forward as known

    own = getattr(sys.modules[type(model).__module__], "eager_attention_forward", None)
    config = model.config
    if own is None or _code(own) != _code(known) or config._attn_implementation != "eager":
        return
    if config.num_key_value_heads < config.num_attention_heads:
        for name in (SHARED_KEYS, PACKED):
            AttentionInterface.register(name, shared_attention)
            AttentionMaskInterface.register(name, eager_mask)
        model.set_attn_implementation(SHARED_KEYS)


def _code(function: Any) -> tuple[Any, ...]:
    return function.__code__.co_code, function.__code__.co_names, function.__code__.co_consts


class TextParts(NamedTuple):
    """How a packed row divides: how many tokens all its texts begin with, and how many are left of each.

    ``left``: how many places that nothing attends to a text has before it where it is padded, beyond whole multiples of
    `ALIGNED`; None where it need not be read as one that is padded, to the bit.
    """

    lengths: tuple[int, ...]
    left: int | None = None


def shared_attention(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    parts: TextParts | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(B, L, H, D) of (B, H, L, D) queries and (B, G, S, D) keys and values; dropout is off throughout.

    ``parts``: where the row is packed; ``attention_mask`` is then the one of its longest text (see `Packed`).
    """
    if parts and attention_mask is not None:
        return _of_parts(query, key, value, attention_mask, scaling, parts), None
    return _attended(query, key, value, attention_mask, scaling, decodes=query.shape[2] == 1), None


def _of_parts(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, parts: TextParts) -> Tensor:
    """The first part attends to itself, each other one to the first and to itself."""
    queries, keys, values = (states.split(list(parts.lengths), dim=2) for states in (query, key, value))
    left, made = parts.left or 0, list[Tensor]()
    for place, length in enumerate(parts.lengths):
        start = left + (parts.lengths[0] if place else 0)
        end = start + length
        right = -end % ALIGNED if parts.left is not None else 0
        seen = [_seen(states, place, left, right) for states in (keys, values)]
        if length:
            own = mask[:, :, start:end, : end + right]
            made.append(_attended(queries[place], seen[0], seen[1], own, scaling, decodes=False))
    return torch.cat(made, dim=1)


def _seen(states: Sequence[Tensor], place: int, left: int, right: int) -> Tensor:
    """The keys or values that a part attends to, between so many places that it does not."""
    own = torch.cat([states[0], states[place]], dim=2) if place else states[0]
    return torch.nn.functional.pad(own, (0, 0, left, right)) if left or right else own


def _attended(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, *, decodes: bool
) -> Tensor:
    """``decodes``: whether the queries are those of a new token, which a model's own attention computes one by one."""
    rows, heads, length, _width = query.shape
    folded = query.reshape(rows, key.shape[1], -1, query.shape[-1])  # (B, G, H / G * L, D)
    if math.frexp(scaling)[0] == 0.5:  # a power of two scales queries as exactly as scores, which are more
        folded, scaling = folded * scaling, 1.0
    scores = torch.matmul(folded, key.transpose(2, 3))
    scores = scores * scaling if scaling != 1.0 else scores
    scores = scores.view(rows, heads, length, -1)  # (B, H, L, S)
    if mask is not None:
        scores = scores + mask
    weights = _Softmax.apply(scores)  # type: ignore[no-untyped-call]
    weights = weights.view(*folded.shape[:3], -1)
    if decodes and _depends_on_rows(value):
        made = torch.cat([torch.matmul(row, value) for row in weights.split(1, dim=2)], dim=2)
    else:
        made = torch.matmul(weights, value)  # (B, G, H / G * L, D)
    return made.reshape(rows, heads, length, -1).transpose(1, 2).contiguous()


class _Softmax(torch.autograd.Function):
    """Over the last dimension, computed in float32; the result is in the type that is given, and so is its gradient.

    By itself torch keeps the float32 numbers for the gradient too, which need twice the memory of the result.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        made: Tensor = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
        return made


def _depends_on_rows(value: Tensor) -> bool:
    """Whether a sum over all S may depend on how many rows are summed at once. A model's own attention sums each head's
    new token by itself, and an export reads with that."""
    return value.device.type == "cpu" and value.dtype == torch.bfloat16 and value.shape[2] > MOST_IN_ONE_SUM
