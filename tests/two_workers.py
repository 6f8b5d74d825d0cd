"""Two processes that talk over gloo, started once for many tests: a call runs one function on both of them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

SECONDS = 240  # for a call; a worker whose partner has failed waits for it for less


class TwoWorkers:
    """The processes of ranks 0 and 1, one thread each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts, self.pair = folder, 0, list[SpawnProcess]()

    def _start(self) -> None:
        context = get_context("spawn")
        self.starts += 1
        self.asked: list[Queue[Any]] = [context.Queue() for _ in range(2)]
        self.told: Queue[Any] = context.Queue()
        rendezvous = str(self.folder / f"rendezvous-{self.starts}")
        given = [(rank, rendezvous, self.asked[rank], self.told) for rank in range(2)]
        self.pair = [context.Process(target=_serve, args=each, daemon=True) for each in given]
        for process in self.pair:
            process.start()

    def do(self, work: Callable[..., Any], *given: Any) -> list[Any]:
        """What ``work(rank, *given)`` returned on each of them, by rank."""
        if not self.pair:
            self._start()
        for asked in self.asked:
            asked.put((work, given))
        try:
            return self._results()
        except BaseException:
            self.end()  # one may wait for the other; the next call gets a fresh pair
            raise

    def _results(self) -> list[Any]:
        found: dict[int, Any] = {}
        for _ in self.pair:
            rank, result, trouble = self.told.get(timeout=SECONDS)
            assert not trouble, f"worker {rank}: {trouble}"
            found[rank] = result
        return [found[0], found[1]]

    def end(self) -> None:
        """The end of both, whatever they are at."""
        for process in self.pair:
            process.kill()
            process.join()
        self.pair = []


def _serve(rank: int, rendezvous: str, asked: Queue[Any], told: Queue[Any]) -> None:
    import torch
    import torch.distributed as dist

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}  # as Ray Train sets them
    torch.set_num_threads(1)
    patience = timedelta(seconds=SECONDS / 2)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=patience)
    while True:
        work, given = asked.get()
        try:
            told.put((rank, work(rank, *given), ""))
        except BaseException:
            told.put((rank, None, traceback.format_exc()))
