"""What the base embedder finds for questions in a corpus, outside of a study. N questions, K passages each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from raggrid.rag.embedder import Embedder
from raggrid.rag.index import Index, Positions
from raggrid.space.settings import Models


class Nearest(NamedTuple):
    """(N, K) positions in the corpus, best first; and how many tokens of a passage the embedder reads, if known."""

    positions: Positions
    reads_tokens: int | None


def nearest(models: Models, passages: Sequence[str], questions: Sequence[str], k: int) -> Nearest:
    """Embed all passages and the questions on this machine's GPU, or its CPU, and search them.

    Raises:
        ModelError: the embedder is not at hand, or not one that raggrid can use.
    """
    embedder = Embedder.load(models, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    index = Index(embedder.encode_passages(passages))
    found = index.search(embedder.encode_questions(questions), k)
    limit = getattr(embedder.model, "max_seq_length", None)
    return Nearest(found, int(limit) if limit else None)
