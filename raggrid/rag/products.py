"""Products on CPUs, faster than by default: linear layers of float32 by the faster of the two libraries that torch
brings, attention and the output without copies of what several heads or rows share.

B rows, H heads, G of them with keys and values of their own, L queries, S keys, D values in each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

CPUINFO = Path("/proc/cpuinfo")
SHARED_KEYS = "shared_keys"
MOST_IN_ONE_SUM = 1024  # columns up to which oneDNN sums one row in bfloat16 as it does several (1,040 differ)


@contextmanager
def fast_linear(model: torch.nn.Module) -> Iterator[None]:
    """Let oneDNN compute the linear layers of a float32 model, without gradient, where that is faster.

    On AMD's processors torch's own choice, MKL, reaches less than half of oneDNN's speed (100 against 230 GFLOP/s per
    core of an EPYC with AVX-512); results differ by rounding alone. Elsewhere nothing changes.
    """
    with ExitStack() as stack:
        for layer in model.modules():
            if type(layer) is torch.nn.Linear and _is_slow(layer.weight):
                packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
                layer.forward = partial(_product, packed, layer.bias)  # type: ignore[method-assign]
                stack.callback(delattr, layer, "forward")
        with torch.no_grad():
            yield


def _is_slow(weight: Tensor) -> bool:
    if isinstance(weight, DTensor):  # its packed copy would be whole on every worker
        return False
    usable = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return usable and torch.backends.mkl.is_available() and "AuthenticAMD" in _processor()


def _processor() -> str:
    return CPUINFO.read_text()[:1000] if CPUINFO.is_file() else ""


def _product(packed: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    return made


@contextmanager
def paired_rows(model: torch.nn.Module) -> Iterator[None]:
    """Let linear layers compute a lone row beside a copy of itself, so that it gets the numbers of a batch.

    On CPUs, in bfloat16, oneDNN sums a product of one row with 1,536 or more columns in another order than those of two
    or more rows, which do not depend on their number. A step of decoding has one row per question.
    """
    with ExitStack() as stack:
        for layer in model.modules():
            if isinstance(layer, (torch.nn.Linear, Conv1D)) and layer.weight.device.type == "cpu":
                own = vars(layer).get("forward")  # accelerate's, where it placed the layer
                stack.callback(*((setattr, layer, "forward", own) if own else (delattr, layer, "forward")))
                layer.forward = partial(_paired, layer.forward)  # type: ignore[method-assign]
        yield


def _paired(product: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    if inputs.numel() > inputs.shape[-1]:
        return product(inputs)
    return product(torch.stack([inputs, inputs]))[0]


def share_weights(model: Any, device: torch.device) -> None:
    """`share_output`, and on a CPU `share_keys`: what a model computes without needless copies, in place."""
    share_output(model)
    if device.type == "cpu":
        share_keys(model)


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
        AttentionInterface.register(SHARED_KEYS, shared_attention)
        AttentionMaskInterface.register(SHARED_KEYS, eager_mask)
        model.set_attn_implementation(SHARED_KEYS)


def _code(function: Any) -> tuple[Any, ...]:
    return function.__code__.co_code, function.__code__.co_names, function.__code__.co_consts


def share_output(model: Any) -> None:
    """Let all rows of a batch share the weights of the output layer, in place.

    Of a slice of positions, whose rows lie apart, torch computes the product with frozen weights row by row and copies
    the weights for each: a fifth of a training step, and 57 MB per row of SmolLM2-135M in bfloat16.
    """
    output = model.get_output_embeddings()
    if output is not None:
        output.register_forward_pre_hook(lambda _layer, given: (given[0].contiguous(), *given[1:]))


def shared_attention(
    _module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """(B, L, H, D) of (B, H, L, D) queries and (B, G, S, D) keys and values; dropout is off throughout."""
    rows, heads, length, _width = query.shape
    folded = query.reshape(rows, key.shape[1], -1, query.shape[-1])  # (B, G, H / G * L, D)
    if math.frexp(scaling)[0] == 0.5:  # a power of two scales queries as exactly as scores, which are more
        folded, scaling = folded * scaling, 1.0
    scores = torch.matmul(folded, key.transpose(2, 3))
    scores = scores * scaling if scaling != 1.0 else scores
    scores = scores.view(rows, heads, length, -1)  # (B, H, L, S)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = _Softmax.apply(scores)  # type: ignore[no-untyped-call]
    weights = weights.view(*folded.shape[:3], -1)
    if length == 1 and _depends_on_rows(value):
        made = torch.cat([torch.matmul(row, value) for row in weights.split(1, dim=2)], dim=2)
    else:
        made = torch.matmul(weights, value)  # (B, G, H / G * L, D)
    return made.reshape(rows, heads, length, -1).transpose(1, 2).contiguous(), None


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
