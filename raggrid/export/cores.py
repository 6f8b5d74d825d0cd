"""How many CPU threads an exported pipeline computes with: as many as in its evaluation, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raggrid.export.load import TunedPipeline

MOST_BATCHES = 8


def batches_at_once(pipeline: TunedPipeline) -> int:
    """How many batches the cores of this process (or OMP_NUM_THREADS) have room for; 1 on a GPU."""
    threads = pipeline.how.get("threads")
    if pipeline.device != "cpu" or threads is None:
        return 1
    return max(1, min(MOST_BATCHES, torch.get_num_threads() // int(threads)))


@contextmanager
def as_evaluated(pipeline: TunedPipeline) -> Iterator[None]:
    """Let torch use as many threads as in the evaluation for what the calling thread does.

    Sums in low precision can depend on their number. Nothing changes for an export that does not state it.
    """
    threads, before = pipeline.how.get("threads"), torch.get_num_threads()
    torch.set_num_threads(int(threads or before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
