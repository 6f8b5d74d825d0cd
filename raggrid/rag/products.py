"""Products on CPUs, faster than by default: linear layers of float32 by the faster of the two libraries that torch
brings, and the output without copies of what several rows share.
"""

from __future__ import annotations

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


def share_output(model: Any) -> None:
    """Let all rows of a batch share the weights of the output layer, in place.

    Of a slice of positions, whose rows lie apart, torch computes the product with frozen weights row by row and copies
    the weights for each: a fifth of a training step, and 57 MB per row of SmolLM2-135M in bfloat16.
    """
    output = model.get_output_embeddings()
    if output is not None:
        output.register_forward_pre_hook(lambda _layer, given: (given[0].contiguous(), *given[1:]))
