"""How many questions go through a generator that trains at once, where a device's memory decides it: found by trying.

Before the first step of a phase, questions, answers and passages with long texts pass through it, with gradients and
moments in place: a trial does not run out of memory in its middle. What the first trial of a phase finds on a type of
device, the others take. How many it is changes sums of float32 by their order alone.

Several workers agree on every try: what does not fit one of them fits none. A pass over weights in shards waits for all
workers in its middle, so that one that runs out of memory there would be waited for until the group ends. With shards
no pass is tried that is not foreseen to fit, from what smaller ones took on the worker where they took the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raggrid.data.sampling import sampled
from raggrid.finetune.data_parallel import DataParallel, Pass
from raggrid.finetune.train_task import TrainTask
from raggrid.finetune.workers import Worker
from raggrid.model_size import USABLE_MEMORY
from raggrid.rag.index import Positions
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import passage_text
from raggrid.rag.retrievers import Retriever
from raggrid.store.kept import keep, read_micro_batches
from raggrid.store.run_layout import MICRO_BATCHES
from raggrid.strategies import PHASES

MARGIN = 1.25  # by how much more than so far a question may take, where a pass that does not fit must not be tried
SAMPLE = 1000  # passages among which the longest are looked for
Backward = Callable[[Pass, int, bool], Tensor]


class Memory(Protocol):
    """The memory of a device, in bytes, of which a trial may use ``usable``. ``device_type``: the device's name."""

    @property
    def device_type(self) -> str: ...

    @property
    def usable(self) -> float: ...

    def taken(self) -> float:
        """What this process holds now."""

    def most_during(self, work: Callable[[], object], *, catches: bool) -> float | None:
        """What it holds at most while it does some work. Where memory runs out: None, or the error is raised."""


@dataclass(frozen=True)
class GpuMemory:
    """The memory of a GPU, as torch counts it, of which a trial gets a share."""

    device: torch.device
    usable: float

    @property
    def device_type(self) -> str:
        return torch.cuda.get_device_name(self.device)

    def taken(self) -> float:
        return float(torch.cuda.memory_allocated(self.device))

    def most_during(self, work: Callable[[], object], *, catches: bool) -> float | None:
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            work()
        except torch.OutOfMemoryError:
            if not catches:
                raise
            return None
        finally:
            torch.cuda.empty_cache()  # other trials may share the GPU
        return float(torch.cuda.max_memory_allocated(self.device))


def memory_of(device: torch.device, share: float) -> Memory | None:
    """The memory of a GPU that a trial holds a ``share`` of; None of a CPU, whose programs share all there is."""
    if device.type == "cpu":
        return None
    return GpuMemory(device, USABLE_MEMORY * share * torch.cuda.mem_get_info(device)[1])


@dataclass(frozen=True)
class Fit:
    """The most questions per pass that fit, and what the device held at most then, in bytes."""

    size: int
    peak_bytes: float


def most_that_fit(at_most: int, usable: float, before: float, peak: Callable[[int], float | None]) -> Fit | None:
    """Try one question, and the most that should fit if each takes as much; while these do not, half of them.

    Args:
        at_most: what there is to pass through.
        usable: bytes of the device.
        before: bytes that are held without any question.
        peak: bytes that are held at most with so many, None where memory runs out.

    Returns:
        None where memory runs out with a single question. One that takes more than is ``usable`` still passes.
    """
    first = peak(1)
    if first is None:
        return None
    size = min(at_most, 1 + max(0, int((usable - first) // max(1.0, first - before))))
    while size > 1:
        most = peak(size)
        if most is not None and most <= usable:
            return Fit(size, most)
        size //= 2
    return Fit(1, first)


def most_foreseen(at_most: int, usable: float, before: float, peak: Callable[[int], float]) -> Fit:
    """Try one question, then at most twice as many as before, for as long as these are foreseen to fit with a `MARGIN`.

    The arguments are those of `most_that_fit`, but for ``peak``, which raises where memory runs out. One question is
    tried in any case; what it takes beyond what is ``usable`` it may take.
    """
    found = Fit(1, peak(1))
    each = found.peak_bytes - before
    while found.size < at_most:
        more = int((usable - found.peak_bytes) // max(1.0, MARGIN * each))
        size = min(at_most, 2 * found.size, found.size + max(0, more))
        most = peak(size) if size > found.size else usable + 1
        if most > usable:
            return found
        each = max(each, (most - found.peak_bytes) / (size - found.size))
        found = Fit(size, most)
    return found


def fitted(
    task: TrainTask,
    worker: Worker,
    trained: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    backward: Backward,
) -> TrainTask:
    """The task with as many questions per pass as fit the device, where the space leaves it open.

    Args:
        task: of a phase run that has not taken a step in this process.
        worker: one of its workers, all of which have to call this.
        trained: its parameters; they have no gradient afterwards.
        optimizer: theirs.
        backward: passes questions through the models of ``task`` and leaves gradients.

    Raises:
        torch.OutOfMemoryError: not even one question fits. On all workers, but where weights are in shards: there
            the others wait for the one that raises it, until their group is ended.
    """
    training = task.space.training
    memory = memory_of(worker.device, min(1.0, task.space.resources.devices_per_worker))
    share = DataParallel(worker, None).largest_share(task.batch_size)
    if memory is None or training.rag.micro_batch_size or share == 1 or not PHASES[task.run.phase].trains_generator:
        return task
    about = {
        "phase": task.run.phase, "device_type": memory.device_type, "num_workers": worker.world_size,
        "questions": share, "usable_bytes": memory.usable, "sharding": training.sharding,
        "activation_checkpointing": training.activation_checkpointing,
    }  # fmt: skip
    size = worker.gather(_known(task, about))[0]  # what the first worker sees, so that all do the same
    if not size:
        with _as_in_a_step(trained, optimizer), _long_passages(task.pipeline):
            found = _tried(task, worker, memory, share, backward)
        size = found.size
        if worker.is_first:
            row = {**about, "micro_batch_size": size, "peak_bytes": found.peak_bytes}
            keep(task.files, MICRO_BATCHES, {name: [value] for name, value in row.items()})
    rag = training.rag.model_copy(update={"micro_batch_size": size})
    space = task.space.model_copy(update={"training": training.model_copy(update={"rag": rag})})
    return replace(task, space=space)


def _known(task: TrainTask, about: Mapping[str, object]) -> int:
    """What trials in the same place have found; the least where several tried at once, 0 where none has."""
    rows = [row for row in read_micro_batches(task.files) if about.items() <= row.items()]
    return min((row["micro_batch_size"] for row in rows), default=0)


def _tried(task: TrainTask, worker: Worker, memory: Memory, share: int, backward: Backward) -> Fit:
    catches = task.space.training.sharding == "none"
    asked = sorted(task.train, key=lambda row: len(row.question) + len(row.answers[0]), reverse=True)[:share]
    before, usable = max(worker.gather(memory.taken())), min(worker.gather(memory.usable))

    def peak(size: int) -> float | None:
        most = memory.most_during(lambda: backward(Pass(asked[:size]), size, False), catches=catches)
        every = worker.gather(most)
        return None if None in every else max(each for each in every if each is not None)

    if not catches:
        return most_foreseen(share, usable, before, lambda size: peak(size) or 0.0)
    found = most_that_fit(share, usable, before, peak)
    if found is None:
        raise torch.OutOfMemoryError(
            f"{task.run.phase}: one question with {task.space.retrieval.top_k} passages does not fit the device."
        )
    return found


@contextmanager
def _as_in_a_step(trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Hold what is held while a later pass of a later step runs: a gradient of each parameter, and two moments."""
    moments = [torch.zeros_like(p) for p in trained.values() if p not in optimizer.state for _ in range(2)]
    for parameter in trained.values():
        parameter.grad = torch.zeros_like(parameter)
    try:
        yield
    finally:
        moments.clear()
        optimizer.zero_grad(set_to_none=True)


@contextmanager
def _long_passages(pipeline: Pipeline) -> Iterator[None]:
    """Let every question find the passages with the longest texts of a sample."""
    places = sampled(range(len(pipeline.passages)), SAMPLE)
    longest = sorted(places, key=lambda place: len(passage_text(pipeline.passages[place])), reverse=True)
    own = pipeline.retriever
    pipeline.retriever = _Constant(own, longest)
    try:
        yield
    finally:
        pipeline.retriever = own


@dataclass(frozen=True)
class _Constant:
    """Finds the same ``places`` for all questions, with the scores of what is near them."""

    retriever: Retriever
    places: Sequence[int]

    def find(self, texts: Sequence[str], k: int) -> Positions:
        return self.score(texts, k)[1]

    def score(self, texts: Sequence[str], k: int) -> tuple[Tensor, Positions]:
        scores, positions = self.retriever.score(texts, k)
        return scores, np.tile(np.array(self.places[: positions.shape[1]]), (len(positions), 1))
