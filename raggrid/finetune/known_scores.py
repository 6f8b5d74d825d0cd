"""What a frozen generator has said of answers, kept for all trials of a study that train an embedder against it.

log p(y | x, k) depends on the question and the passage alone while the generator stands still: each pair is computed
once, by whichever trial retrieves it first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from raggrid.rag.engines.in_step import in_step
from raggrid.rag.index import Positions
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.reading.scores import AnswerScores
from raggrid.records import Question
from raggrid.store.files import Files
from raggrid.store.kept import keep, kept

Pair = tuple[str, int]
"""(question id, position of the passage)."""
MOST_PAIRS = 200_000  # in memory, about 60 MB; beyond it the oldest are forgotten here, though not on disk
SAVE_SECONDS = 20.0  # the most that a killed trial loses, and how long another waits for what this one has computed


class KnownScores:
    """Log-probabilities of the first answer of questions after single passages, by one generator under one prompt.

    Args:
        files: the run directory.
        folder: of this generator under these settings; trials that share it share its pairs.
    """

    def __init__(self, files: Files, folder: str) -> None:
        self._files, self._folder = files, folder
        self._rows: dict[Pair, npt.NDArray[np.float32]] = {}  # (T,) of each, in nats
        self._fresh: list[Pair] = []
        self._seen: set[str] = set()
        self._saved_at = time.monotonic()
        self._merge()

    def score(self, pipeline: Pipeline, questions: Sequence[Question], positions: Positions) -> AnswerScores:
        """As `Generator.score` for the (B, K) passages of each question, one passage per prompt; without gradient.

        Where the generator is sharded all workers have to call it, whatever each of them knows.
        """
        pairs = [(q, place) for q, row in zip(questions, positions.tolist(), strict=True) for place in row]
        found = {(q.id, place): self._rows.get((q.id, place)) for q, place in pairs}
        missing = [(q, place) for q, place in dict.fromkeys(pairs) if found[q.id, place] is None]
        with in_step(pipeline.required_generator.model):
            found |= self._computed(pipeline, missing) if missing else {}
        if missing and time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()
        rows = [row for q, place in pairs if (row := found[q.id, place]) is not None]
        return _together(rows, pipeline.required_generator.device)

    def save(self) -> None:
        """Put what was computed here on disk, and take in what others have put there."""
        fresh = [pair for pair in self._fresh if pair in self._rows]
        if fresh:
            ids, places = zip(*fresh, strict=True)
            columns = {"question_id": ids, "passage": places, "logprobs": [self._rows[pair] for pair in fresh]}
            self._seen.add(keep(self._files, self._folder, columns))
        self._fresh = []
        self._merge()
        self._saved_at = time.monotonic()

    def _computed(
        self, pipeline: Pipeline, missing: Sequence[tuple[Question, int]]
    ) -> dict[Pair, npt.NDArray[np.float32]]:
        prompts = [pipeline.prompt(question.question, [place]) for question, place in missing]
        with torch.no_grad():
            scored = pipeline.required_generator.score(prompts, [question.answers[0] for question, _ in missing])
        rows = zip(scored.token_logprobs.float().cpu().numpy(), scored.answer_mask.cpu().numpy(), strict=True)
        made = {(q.id, place): row[mask] for (q, place), (row, mask) in zip(missing, rows, strict=True)}
        self._fresh += made
        self._add(made)
        return made

    def _merge(self) -> None:
        for part in kept(self._files, self._folder, self._seen):
            pairs = zip(part["question_id"], part["passage"], strict=True)
            rows = (np.asarray(row, dtype=np.float32) for row in part["logprobs"])
            self._add(dict(zip(pairs, rows, strict=True)))

    def _add(self, rows: dict[Pair, npt.NDArray[np.float32]]) -> None:
        for pair, row in rows.items():
            # What is known stays: two trials may have computed a pair side by side, in batches of other widths.
            self._rows.setdefault(pair, row)
        while len(self._rows) > MOST_PAIRS:
            del self._rows[next(iter(self._rows))]


def _together(rows: Sequence[npt.NDArray[np.float32]], device: torch.device) -> AnswerScores:
    """(N, T) log-probabilities that end in the last column, as a decoder-only generator gives them."""
    width = max(map(len, rows))
    logprobs, mask = np.zeros((len(rows), width), dtype=np.float32), np.zeros((len(rows), width), dtype=bool)
    for place, row in enumerate(rows):
        logprobs[place, width - len(row) :], mask[place, width - len(row) :] = row, True
    return AnswerScores(torch.from_numpy(logprobs).to(device), torch.from_numpy(mask).to(device), None)
