"""Concurrent questions -> batches on a few threads, which alone use the models. Texts are those of a question alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import ceil

from raggrid.export.cores import as_evaluated
from raggrid.export.load import TunedPipeline
from raggrid.serve.decoding import EarlyReplies
from raggrid.serve.pending import Busy, Pending, Reply

LIKE = 2.0  # prompts share a batch up to this ratio of lengths: a huge one does not widen the others


class Batcher:
    """Answers questions in the order asked; each batch is the oldest one with those of the most similar length.

    Questions that wait are shared among the threads that are free.

    Args:
        pipeline: used by this object's threads alone.
        max_batch: questions in a batch.
        max_waiting: further ones are refused.
        num_batches: batches that are under way at once, each on a thread.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        pipeline: TunedPipeline,
        *,
        max_batch: int,
        max_waiting: int,
        num_batches: int = 1,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.pipeline, self.max_batch, self.max_waiting, self.observe = pipeline, max_batch, max_waiting, observe
        self.num_batches = num_batches
        self._new: list[Pending] = []
        self._ready: list[Pending] = []
        self._retrieving, self._answering = False, 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name="models", daemon=True) for _ in range(num_batches)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Questions that are not under way yet."""
        return len(self._new) + len(self._ready)

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, job: Pending) -> Future[Reply]:
        """Queue a question. Raises `Busy` where too many wait."""
        with self._changed:
            if self.waiting >= self.max_waiting:
                raise Busy
            self._new.append(job)
            self._changed.notify()
        return job.done

    def close(self) -> None:
        """End the threads after the batches that are under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with as_evaluated(self.pipeline):
            while not self._closed:
                self._work()

    def _work(self) -> None:
        """The next thing to do, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready or (self._new and not self._retrieving))
            if self._closed:
                return
            new = [] if self._retrieving else self._take_new()
            batch = [] if new else self._take_batch()
        if new:
            self._retrieve(new)
        elif batch:
            self._answer(batch)

    def _take_new(self) -> list[Pending]:
        new, self._new = [job for job in self._new if job.is_open], []
        self._retrieving = bool(new)
        return new

    def _take_batch(self) -> list[Pending]:
        """The oldest question with those of the most similar length, as many as each free thread can have."""
        self._ready = [job for job in self._ready if job.is_open]
        if not self._ready:
            return []
        length = len(self._ready[0].prompt)
        like = [job for job in self._ready if length / LIKE <= len(job.prompt) <= length * LIKE]
        like.sort(key=lambda job: abs(len(job.prompt) - length))
        batch = like[: min(self.max_batch, ceil(len(like) / (self.num_batches - self._answering)))]
        self._ready = [job for job in self._ready if job not in batch]
        self._answering += 1
        return batch

    def _retrieve(self, jobs: Sequence[Pending]) -> None:
        _guarded(jobs, self._find)
        with self._changed:
            self._retrieving = False
            self._changed.notify_all()

    def _find(self, jobs: Sequence[Pending]) -> None:
        default = int(self.pipeline.how["k"])
        found = self.pipeline.retrieve([job.question for job in jobs], max(job.k or default for job in jobs))
        for job, passages in zip(jobs, found, strict=True):
            job.found = passages[: job.k or default]
        asked = [job for job in jobs if job.k is None]
        prompts = self.pipeline.tokens([self.pipeline.prompt(job.question, job.found) for job in asked])
        for job, prompt in zip(asked, prompts, strict=True):
            job.prompt = prompt
        with self._changed:
            self._ready += asked
        for job in jobs:
            if job.k is not None:
                job.settle(Reply(text="", passages=job.found))

    def _answer(self, jobs: Sequence[Pending]) -> None:
        _guarded(jobs, self._generate)
        with self._changed:
            self._answering -= 1

    def _generate(self, jobs: Sequence[Pending]) -> None:
        self.observe(len(jobs))
        self.pipeline.generate([job.prompt for job in jobs], stopping_criteria=[EarlyReplies(self.pipeline, jobs)])


def _guarded(jobs: Sequence[Pending], work: Callable[[Sequence[Pending]], None]) -> None:
    """What fails for several questions at once is tried for each alone, so that one hurts no other."""
    jobs = [job for job in jobs if job.is_open]
    if not jobs:
        return
    try:
        work(jobs)
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].settle(error)
            return
        for job in jobs:
            _guarded([job], work)
