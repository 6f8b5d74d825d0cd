"""Calls of a model whose weights lie in shards on several workers: a call gathers them, so that all have to call it.

Workers that answer need unequally many: each has prompts of its own, and answers end where they end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule


@contextmanager
def in_step(model: torch.nn.Module) -> Iterator[None]:
    """Let each worker call a sharded model as often as it needs to, without gradient. All workers have to enter.

    Before every call they count who needs it; a worker that needs none any more reads one token along, until nobody
    needs any. transformers' own ``synced_gpus`` does this within a batch and expects equally many batches. For
    decoder-only models; for one that is whole on each worker nothing happens.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    device = next(model.parameters()).device
    # First of its hooks, since FSDP's gathers: a worker that is done counts before it calls.
    hook = model.register_forward_pre_hook(partial(_count_in, device), prepend=True)
    try:
        yield
    finally:
        hook.remove()
    token = torch.zeros(1, 1, dtype=torch.long, device=device)
    with torch.no_grad():
        while _num_needing(0, device):
            model(input_ids=token, use_cache=False)


def _count_in(device: torch.device, *_: Any) -> None:
    _num_needing(1, device)


def _num_needing(own: int, device: torch.device) -> int:
    """How many workers need the model once more; ``own`` is 1 where this one does."""
    counted = torch.tensor(own, device=device)
    dist.all_reduce(counted)
    return int(counted)
