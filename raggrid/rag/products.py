"""Matrix products of float32 on CPUs, by the faster of the two libraries that torch brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

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
    usable = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return usable and torch.backends.mkl.is_available() and "AuthenticAMD" in _processor()


def _processor() -> str:
    return CPUINFO.read_text()[:1000] if CPUINFO.is_file() else ""


def _product(packed: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    return made
