"""Vectors -> nearest passages by inner product, which is the cosine of vectors of length one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

from raggrid.rag.vectors import Floats, Stored, Vectors

Positions = npt.NDArray[np.int64]


class Searcher(Protocol):
    """Finds what it takes for the nearest vectors."""

    def search(self, queries: Floats, k: int) -> Positions:
        """(N, k) positions, best first."""


class Index:
    """The frozen passage vectors of the base embedder. Without a ``searcher`` every search is exact."""

    def __init__(self, vectors: Vectors | Stored, searcher: Searcher | None = None) -> None:
        self.vectors = vectors if isinstance(vectors, Vectors) else Vectors([vectors])
        self._searcher = searcher

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: Floats, k: int) -> Positions:
        """(N, k) positions of the nearest passages, best first; k is capped at the corpus size."""
        queries, k = np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self))
        return self._searcher.search(queries, k) if self._searcher else exact_search(self.vectors, queries, k)


def exact_search(vectors: Vectors, queries: Floats, k: int) -> Positions:
    """(N, k) positions of the nearest of all vectors, compared one part after the other as faiss's flat index does."""
    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start, block in vectors.blocks():
        scores, positions = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, positions + start)
    heap.finalize()
    return np.asarray(heap.I, dtype=np.int64)


def save_flat(index: Index, path: Path) -> None:
    """Write the vectors as faiss's own exact index, which ``faiss.read_index`` loads."""
    flat = faiss.IndexFlatIP(index.vectors.dimension)
    for _, block in index.vectors.blocks():
        flat.add(np.ascontiguousarray(block))
    faiss.write_index(flat, str(path))
