"""Concurrent questions -> batches on one thread, which alone uses the models. Texts are those of one question alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from raggrid.export.load import Passages, TunedPipeline

LIKE = 2.0  # prompts share a batch up to this ratio of lengths: a huge one does not widen the others


class Busy(Exception):
    """More questions are waiting than the limit."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with the passages that were found. ``ended``: by itself, not by the longest length."""

    text: str
    passages: Passages
    prompt_tokens: int = 0
    answer_tokens: int = 0
    ended: bool = True


@dataclass
class Pending:
    """A question on its way. ``k``: passages to find, with no answer wanted; None for an answer. ``told``: called on
    the models' thread with the text so far."""

    question: str
    k: int | None = None
    max_tokens: int | None = None
    told: Callable[[str], None] | None = None
    done: Future[Reply] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
    found: Passages = field(default_factory=list)
    prompt: str = ""

    @property
    def is_open(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.done.done()


class Batcher:
    """Answers questions in the order asked, as many at once as have prompts of like length.

    Args:
        pipeline: used by this object's thread alone.
        max_batch: questions at once.
        max_waiting: further ones are refused.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        pipeline: TunedPipeline,
        *,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.pipeline, self.max_batch, self.max_waiting, self.observe = pipeline, max_batch, max_waiting, observe
        self._new: list[Pending] = []
        self._ready: list[Pending] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions that are not under way yet."""
        return len(self._new) + len(self._ready)

    @property
    def is_alive(self) -> bool:
        """Whether the models' thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Pending) -> Future[Reply]:
        """Queue a question. Raises `Busy` where too many wait."""
        with self._changed:
            if self.waiting >= self.max_waiting:
                raise Busy
            self._new.append(job)
            self._changed.notify()
        return job.done

    def close(self) -> None:
        """End the thread after the batch that is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._new or self._ready or self._closed)
                new, self._new = self._new, []
            if self._closed:
                return
            self._guarded([job for job in new if job.is_open], self._find)
            self._ready = [job for job in self._ready if job.is_open]
            if batch := self._next():
                self._ready = [job for job in self._ready if job not in batch]
                self._guarded(batch, self._answer)

    def _guarded(self, jobs: Sequence[Pending], work: Callable[[Sequence[Pending]], None]) -> None:
        """What fails for several questions at once is tried for each alone, so that one hurts no other."""
        if not jobs:
            return
        try:
            work(jobs)
        except Exception as error:
            if len(jobs) == 1:
                _settle(jobs[0], error)
                return
            for job in jobs:
                self._guarded([job], work)

    def _find(self, jobs: Sequence[Pending]) -> None:
        default = int(self.pipeline.how["k"])
        found = self.pipeline.retrieve([job.question for job in jobs], max(job.k or default for job in jobs))
        for job, passages in zip(jobs, found, strict=True):
            job.found = passages[: job.k or default]
            if job.k is not None:
                _settle(job, Reply(text="", passages=job.found))
            else:
                job.prompt = self.pipeline.prompt(job.question, job.found)
                self._ready.append(job)

    def _next(self) -> list[Pending]:
        if not self._ready:
            return []
        oldest = len(self._ready[0].prompt)
        like = [job for job in self._ready if oldest / LIKE <= len(job.prompt) <= oldest * LIKE]
        return like[: self.max_batch]

    def _answer(self, jobs: Sequence[Pending]) -> None:
        self.observe(len(jobs))
        streamer = TokenStream(self.pipeline, jobs) if any(job.told for job in jobs) else None
        rows = self.pipeline.generate([job.prompt for job in jobs], streamer)
        most = int(self.pipeline.how["max_new_tokens"])
        for job, ids in zip(jobs, rows, strict=True):
            limit = min(job.max_tokens or most, most)
            told = self.pipeline.text(ids[:limit])
            read = len(self.pipeline.tokenizer(job.prompt)["input_ids"])
            ended = len(ids) < limit or "\n" in self.pipeline.tokenizer.decode(ids[:limit]).strip()
            _settle(job, Reply(text=told, passages=job.found, prompt_tokens=read, answer_tokens=len(ids[:limit]),
                               ended=ended))  # fmt: skip


class TokenStream:
    """A streamer of transformers for a whole batch: tells each question's text so far after every step."""

    def __init__(self, pipeline: TunedPipeline, jobs: Sequence[Pending]) -> None:
        self.pipeline, self.jobs = pipeline, jobs
        self._rows: list[list[int]] = [[] for _ in jobs]
        self._begun = False

    def put(self, tokens: Any) -> None:
        """What `generate` calls: first with the prompts, then with one token per row."""
        if not self._begun:
            self._begun = True
            return
        for row, token, job in zip(self._rows, tokens.tolist(), self.jobs, strict=True):
            row.append(token)
            if job.told and job.is_open and (job.max_tokens is None or len(row) <= job.max_tokens):
                job.told(self.pipeline.text(self.pipeline.ended(row)))

    def end(self) -> None:
        """What `generate` calls last."""


def _settle(job: Pending, result: Reply | Exception) -> None:
    if not job.done.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        job.done.set_exception(result)
    else:
        job.done.set_result(result)
