"""What the server does after each token of a batch: streams texts, and replies as soon as an answer stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raggrid.export.load import TunedPipeline
from raggrid.serve.pending import Pending, Reply


class EarlyReplies:
    """A stopping criterion of transformers for a batch of questions, one per row.

    A row is over at a stop token, after its first line, at its own limit, or when nobody waits for it any more. Its
    question then gets its reply, though the batch goes on; a batch ends when all of its rows are over.
    """

    def __init__(self, pipeline: TunedPipeline, jobs: Sequence[Pending]) -> None:
        self.pipeline, self.jobs = pipeline, jobs
        self._begin: int | None = None
        self._over = [False] * len(jobs)

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        """(N,) bool of the (N, L) ids so far: which rows are over."""
        if self._begin is None:
            self._begin = ids.shape[1] - 1
        for place, row in enumerate(ids[:, self._begin :].tolist()):
            self._over[place] = self._over[place] or self._is_over(self.jobs[place], row)
        return ids.new_tensor(self._over).bool()

    def _is_over(self, job: Pending, row: list[int]) -> bool:
        if not job.is_open:
            return True
        most = int(self.pipeline.how["max_new_tokens"])
        limit = min(job.max_tokens or most, most)
        said = self.pipeline.ended(row)
        ended = len(said) < len(row) or "\n" in self.pipeline.tokenizer.decode(said).lstrip()
        if ended or len(row) >= limit:
            job.settle(self._reply(job, said, ended))
            return True
        if job.told:
            job.told(self.pipeline.text(said))
        return False

    def _reply(self, job: Pending, said: list[int], ended: bool) -> Reply:
        counts = {"prompt_tokens": len(job.prompt), "answer_tokens": len(said)}
        return Reply(text=self.pipeline.text(said), passages=job.found, ended=ended, **counts)
