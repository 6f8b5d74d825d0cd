"""Vectors -> nearest passages: the one owner of faiss. Exact inner product: the cosine of vectors of length one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from raggrid.space.settings import Retrieval

Floats = npt.NDArray[np.float32]


class Index:
    """The frozen passage vectors of the base embedder, searched as ``retrieval`` says: exactly, so far."""

    def __init__(self, vectors: Floats, retrieval: Retrieval) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._faiss = _empty(self.vectors.shape[1], retrieval)
        self._faiss.add(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: Floats, k: int) -> npt.NDArray[np.int64]:
        """(N, k) positions of the nearest passages, best first; k is capped at the corpus size."""
        _, positions = self._faiss.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self)))
        return np.asarray(positions, dtype=np.int64)


def save_flat(index: Index, path: Path) -> None:
    """Write the vectors as faiss's own exact index, which ``faiss.read_index`` loads."""
    flat = faiss.IndexFlatIP(index.vectors.shape[1])
    flat.add(index.vectors)
    faiss.write_index(flat, str(path))


def _empty(dimension: int, retrieval: Retrieval) -> Any:
    """A faiss index without vectors: of the only kind there is, whatever else ``retrieval`` says."""
    return faiss.IndexFlatIP(dimension)
