"""How the workers of a trial share a step: who passes which questions when, and how their gradients come together.

The one place of the trainer that knows whether a generator's weights lie whole on every worker, where gradients are
summed after the passes, or in shards, where each pass sums them (FSDP2, ``torch.distributed.fsdp.fully_shard``; Zhao
et al. 2023, arXiv:2304.11277). What a pass computes in is the generator's own affair, since answering needs it too.

Tested with two workers over gloo on CPUs, in float32, also as a worker group of a study; of bfloat16 over shards, the
answers and what a pass keeps. Not tested: GPUs over NCCL, more than one node, more than two workers, and what it saves
where the model is larger than a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from raggrid.finetune.batches import shard
from raggrid.finetune.workers import Worker
from raggrid.rag.generator import Generator
from raggrid.records import Question


@dataclass(frozen=True)
class Pass:
    """Questions that go through the models at once. ``weight`` is 0 where they go along only because every worker has
    to compute when one does, and else 1."""

    questions: Sequence[Question]
    weight: float = 1.0


class DataParallel:
    """The share of one worker in the steps of a run. ``generator``: the one of its pipeline, if it has one."""

    def __init__(self, worker: Worker, generator: Generator | None) -> None:
        self.worker = worker
        self.is_sharded = generator is not None and generator.is_sharded
        if generator is not None and self.is_sharded:
            _sum_in(generator.model)

    def largest_share(self, num_rows: int) -> int:
        """Of ``num_rows``, those of the worker that has the most."""
        return math.ceil(num_rows / self.worker.world_size)

    def passes(self, batch: Sequence[Question], size: int) -> list[Pass]:
        """This worker's part of ``batch`` in passes of up to ``size`` questions.

        Equally many on every worker of a sharded model: none of them has its weights alone.
        """
        mine = [batch[place] for place in shard(list(range(len(batch))), self.worker.rank, self.worker.world_size)]
        made = [Pass(mine[start : start + size]) for start in range(0, len(mine), size)]
        missing = math.ceil(self.largest_share(len(batch)) / size) - len(made) if self.is_sharded else 0
        return made + [Pass(batch[:1], weight=0.0)] * missing

    def sum_gradients(self, trained: Mapping[str, torch.nn.Parameter]) -> None:
        """Add up over the workers what the passes have left to be added up."""
        self.worker.sum_gradients(p for p in trained.values() if not isinstance(p, DTensor))

    def clip(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> float:
        """Clip gradients to ``max_norm``, which is over all shards; their norm before that."""
        trained = list(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        torch.nn.utils.clip_grads_with_norm_(trained, max_norm, whole)
        return float(whole)


def _sum_in(model: torch.nn.Module) -> None:
    """Let a sharded model add up its gradients over the workers, as `Worker.sum_gradients` does: not their mean, since
    each loss is over the size of the global batch."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
