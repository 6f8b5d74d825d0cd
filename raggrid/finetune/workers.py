"""The worker that a training loop runs on, as the loop sees it: rank, device, report and stop. Knows no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from raggrid.records import Report, StepRecord

CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """One of ``world_size`` equal workers. ``report`` is called on every rank; ``should_stop`` after it.

    ``leaving``: whether this worker's machine is to go soon; the run then saves and is interrupted on all of them.
    ``logged``: called on every rank with each step that is logged.
    """

    report: Callable[[Report], None]
    should_stop: Callable[[], bool] = lambda: False
    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU
    leaving: Callable[[], bool] = lambda: False
    logged: Callable[[StepRecord], None] = lambda _: None

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all workers, on each."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up gradients over the workers, in one flat transfer.

        Each worker's loss is already divided by the global batch, so the sum is the global batch's gradient. A
        parameter without gradient here (nothing fell to this worker) takes part with zeros; one without gradient on
        all of them keeps none, so that it does not decay either.
        """
        trained = list(parameters)
        if self.world_size == 1 or not trained:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
        counted = gradients[0].new_tensor([p.grad is not None for p in trained])
        flat = self.sum(torch.cat([counted, *(gradient.flatten() for gradient in gradients)]))
        counts, *summed = flat.split([len(trained), *(p.numel() for p in trained)])
        for parameter, gradient, count in zip(trained, summed, counts.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter) if count else None

    def gather(self, value: T) -> list[T]:
        """``value`` of every worker, in the order of ranks, on each."""
        if self.world_size == 1:
            return [value]
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return cast("list[T]", values)

    def wait(self) -> None:
        """Return when every worker has come here."""
        if self.world_size > 1:
            dist.barrier()
