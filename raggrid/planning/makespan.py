"""The wall time of a study with a number of concurrent trials: its tasks scheduled in the order of the phase graph."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """Tasks that may start together. ``seconds``: of each task; ``after``: names of batches that must end first."""

    name: str
    seconds: Sequence[float]
    after: Collection[str] = ()


def wall_seconds(batches: Sequence[Batch], slots: int) -> float:
    """Seconds until the last task ends, with ``slots`` tasks at once.

    A free slot takes the longest task that can start. Batches must come after those they wait for.
    """
    free, ends = [0.0] * slots, dict[str, float]()
    pending = list(batches)
    while pending:
        ready = [batch for batch in pending if all(name in ends for name in batch.after)]
        # The batch that can start first; ties in the order given.
        batch = min(ready, key=lambda batch: max((ends[name] for name in batch.after), default=0.0))
        pending.remove(batch)
        start = max((ends[name] for name in batch.after), default=0.0)
        ends[batch.name] = max([start, *(_place(free, seconds, start) for seconds in sorted(batch.seconds)[::-1])])
    return max(ends.values(), default=0.0)


def _place(free: list[float], seconds: float, not_before: float) -> float:
    """Give a task to the slot that is free first; returns the time at which it ends."""
    begin = max(heapq.heappop(free), not_before)
    heapq.heappush(free, begin + seconds)
    return begin + seconds
