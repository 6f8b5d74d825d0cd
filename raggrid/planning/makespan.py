"""The wall time of a study with a number of concurrent trials: its tasks scheduled in the order of the phase graph."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from raggrid.study.shards import best_num_shards


@dataclass(frozen=True)
class Batch:
    """Tasks that may start together. ``seconds``: of each task; ``after``: names of batches that must end first.

    Answerings are spread over slots that would idle, as a search does it once some have ended: into at most
    ``most_shards`` each, of which every one starts for ``shard_start`` seconds.
    """

    name: str
    seconds: Sequence[float]
    after: Collection[str] = ()
    most_shards: int = 1
    shard_start: float = 0.0


def wall_seconds(batches: Sequence[Batch], slots: int) -> float:
    """Seconds until the last task ends, with ``slots`` tasks at once.

    A free slot takes the longest task that can start; answerings that can start together share what is free. Batches
    must come after those they wait for.
    """
    free, ends = [0.0] * slots, dict[str, float]()
    pending = list(batches)
    while pending:
        start, together = _next_batches(pending, ends)
        pending = [batch for batch in pending if batch not in together]
        measured = any(each.most_shards > 1 and ends.get(each.name, math.inf) <= start for each in batches)
        idle = sum(end <= start for end in free) if measured else 0
        tasks = [(seconds, batch.name) for batch, seconds in _spread(together, idle)]
        ends |= dict.fromkeys((batch.name for batch in together), start)
        for seconds, name in sorted(tasks, reverse=True):
            ends[name] = max(ends[name], _place(free, seconds, start))
    return max(ends.values(), default=0.0)


def _next_batches(pending: Sequence[Batch], ends: Mapping[str, float]) -> tuple[float, list[Batch]]:
    """The batch that can start first and when; with ties those that are not spread, in the order given, else all."""
    starts = {
        batch.name: max((ends[name] for name in batch.after), default=0.0)
        for batch in pending
        if all(name in ends for name in batch.after)
    }
    first = min(starts.values())
    ready = [batch for batch in pending if starts.get(batch.name) == first]
    whole = next((batch for batch in ready if batch.most_shards == 1), None)
    return first, [whole] if whole else ready


def _spread(batches: Sequence[Batch], idle: int) -> Iterator[tuple[Batch, float]]:
    """The seconds of the batches' tasks, with shards as tasks of their own; ``idle``: slots that nothing else holds."""
    answerings = sum(seconds > batch.shard_start for batch in batches for seconds in batch.seconds)
    for batch in batches:
        for seconds in batch.seconds:
            work, most = seconds - batch.shard_start, min(idle, batch.most_shards)
            count = best_num_shards(batch.shard_start, work, most, answerings, idle) if most > 1 and work > 0 else 1
            yield from [(batch, seconds if count == 1 else batch.shard_start + work / count)] * count


def _place(free: list[float], seconds: float, not_before: float) -> float:
    """Give a task to the slot that is free first; returns the time at which it ends."""
    begin = max(heapq.heappop(free), not_before)
    heapq.heappush(free, begin + seconds)
    return begin + seconds
