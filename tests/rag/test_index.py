"""Exact search over the vectors on disk against faiss's own flat index, whatever parts they come in."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from raggrid.rag.index import Index
from raggrid.rag.vectors import Floats, Stored, Vectors


def unit(rows: int, seed: int = 0, dimension: int = 16) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def on_disk(folder: Path, vectors: Stored, rows: int) -> Vectors:
    """The vectors as mapped parts of this many rows."""
    paths = []
    for start in range(0, len(vectors), rows):
        paths.append(folder / f"{start}.npy")
        np.save(paths[-1], vectors[start : start + rows])
    return Vectors.mapped(paths)


def test_the_nearest_passages_come_first() -> None:
    passages, questions = unit(200), unit(9, seed=1)
    found = Index(passages).search(questions, 5)
    expected = np.argsort(-questions @ passages.T, axis=1)[:, :5]
    assert found.tolist() == expected.tolist()


def test_more_passages_than_there_are_cannot_be_had(tmp_path: Path) -> None:
    for index in (Index(unit(3)), Index(on_disk(tmp_path, unit(3), 2))):
        assert len(index) == 3
        assert index.search(unit(2, seed=1), 7).shape == (2, 3)


@pytest.mark.parametrize("questions", [3, 40], ids="{} questions".format)
@pytest.mark.parametrize("rows", [10_000, 2048, 1024])
def test_a_search_over_parts_finds_what_a_flat_index_finds(tmp_path: Path, rows: int, questions: int) -> None:
    passages, asked = unit(6000, dimension=32), unit(questions, seed=1, dimension=32)
    flat = faiss.IndexFlatIP(32)
    flat.add(passages)
    expected = flat.search(asked, 9)[1]
    assert Index(on_disk(tmp_path, passages, rows)).search(asked, 9).tolist() == expected.tolist()


def test_vectors_of_half_precision_are_searched_as_what_they_are(tmp_path: Path) -> None:
    half, asked = unit(9000, dimension=32).astype(np.float16), unit(30, seed=1, dimension=32)
    flat = faiss.IndexFlatIP(32)
    flat.add(half.astype(np.float32))
    assert Index(on_disk(tmp_path, half, 5000)).search(asked, 9).tolist() == flat.search(asked, 9)[1].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_are_found_in_their_parts(tmp_path: Path, dtype: type) -> None:
    whole: Stored = unit(25).astype(dtype)
    vectors = on_disk(tmp_path, whole, 7)
    assert (len(vectors), vectors.dimension) == (25, 16)
    places = np.array([[24, 0, 7], [6, 13, 0]])
    found = vectors[places]
    assert found.dtype == np.float32
    assert found.tolist() == whole[places].astype(np.float32).tolist()
    assert vectors[5:9].tolist() == whole[5:9].astype(np.float32).tolist()
    assert vectors[[3]].shape == (1, 16)


def test_parts_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected equal ones"):
        Vectors([unit(3), unit(4), unit(3)])
