"""Question -> passages with their scores: found by an embedder in an index, or kept from one that does not change.

N questions, K passages each, D vector length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from raggrid.rag.embedder import Embedder
from raggrid.rag.index import Index, Positions
from raggrid.rag.vectors import Floats


class Retriever(Protocol):
    """Finds passages for the texts of questions; the best ones first, fewer than ``k`` in a smaller corpus."""

    def find(self, texts: Sequence[str], k: int) -> Positions:
        """(N, K) positions in the corpus."""

    def score(self, texts: Sequence[str], k: int) -> tuple[Tensor, Positions]:
        """(N, K) retrieval scores, with gradient where an embedder trains, and (N, K) positions in the corpus."""


@dataclass(frozen=True)
class LiveRetriever:
    """Embeds each question with the weights of the moment."""

    embedder: Embedder
    index: Index

    def find(self, texts: Sequence[str], k: int) -> Positions:
        return self.index.search(self.embedder.encode_questions(texts), k)

    def score(self, texts: Sequence[str], k: int) -> tuple[Tensor, Positions]:
        vectors = self.embedder.embed_questions(texts)  # (N, D)
        positions = self.index.search(vectors.detach().float().cpu().numpy(), k)
        passages = torch.from_numpy(self.index.vectors[positions]).to(vectors.device)  # (N, K, D)
        return torch.einsum("nd,nkd->nk", vectors, passages), positions


@dataclass(frozen=True)
class KeptRetriever:
    """What a frozen embedder finds for questions that are known beforehand: ``rows`` of two (N, K) arrays, by text."""

    rows: Mapping[str, int]
    positions: Positions
    scores: Floats

    def find(self, texts: Sequence[str], k: int) -> Positions:
        return self.positions[[self.rows[text] for text in texts], :k]

    def score(self, texts: Sequence[str], k: int) -> tuple[Tensor, Positions]:
        return torch.from_numpy(self.scores[[self.rows[text] for text in texts], :k]), self.find(texts, k)
