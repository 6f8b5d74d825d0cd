"""Indexes that look at a part of the vectors: as good as they say, equal when built in steps, refused when unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from raggrid.display_names import FOUND_AT_LEAST, told_index
from raggrid.errors import InputError
from raggrid.rag import approximate
from raggrid.rag.approximate import AIM, MIN_CANDIDATES, Approximate, Measured, factory_of
from raggrid.rag.index import exact_search
from raggrid.rag.vectors import Floats, Vectors
from raggrid.space.settings import INDEX_KINDS

KINDS = [kind for kind in INDEX_KINDS if kind != "flat"]
ROTATED = "OPQ8,IVF16,PQ8x4"
LEARN_LONG = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("ivfpq", ROTATED)]
ROWS, DIMENSION = 12_000, 32


def clustered(rows: int, seed: int) -> Floats:
    """Vectors of length one around some centres, as texts of some topics have."""
    centres = np.random.default_rng(0).normal(size=(60, DIMENSION))
    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(0, 60, rows)] + 0.8 * generator.normal(size=(rows, DIMENSION))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    passages = clustered(ROWS, 1)
    return Vectors([passages[:5000], passages[5000:10_000], passages[10_000:]])


@pytest.fixture(scope="module")
def trained(vectors: Vectors) -> Callable[[str], Any]:
    """A copy of the index of a factory that has learned the vectors, which it does once."""
    learned: dict[str, Any] = {}

    def copy(factory: str) -> Any:
        if factory not in learned:
            # A rotation is learned in fifty rounds: from a quarter of the vectors, that takes seconds.
            seen = Vectors([vectors[: ROWS // 4]]) if factory == ROTATED else vectors
            learned[factory] = approximate.trained(factory, seen)
        return faiss.clone_index(learned[factory])

    return copy


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind != "ivfpq"), "SQ8", *LEARN_LONG])
def test_its_passages_are_those_of_exact_search_and_what_it_says_of_itself_is_true(
    vectors: Vectors, trained: Callable[[str], Any], kind: str, tmp_path: Path
) -> None:
    factory = factory_of(kind, ROWS, DIMENSION)
    index = trained(factory)
    if approximate.can_encode(index):
        parts = [approximate.encoded(index, vectors[start : start + 5000]) for start in range(0, ROWS, 5000)]
        filled = approximate.filled(index, parts)
    else:
        filled = approximate.filled_whole(index, vectors)
    approximate.save(filled, tmp_path / "index")
    loaded = approximate.load(tmp_path / "index", mapped=True)
    questions = clustered(64, 2)
    told = approximate.measured(loaded, factory, vectors, questions, 5, num_bytes=1)
    assert told.recall >= AIM
    found = Approximate(loaded, vectors, told.effort, told.candidates).search(questions, 5)
    exact = exact_search(vectors, questions, 5)
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    assert sum(shared) / (64 * 5) == pytest.approx(told.recall)
    scores = np.take_along_axis(questions @ vectors[:].T, found, axis=1)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


@pytest.mark.slow
def test_short_codes_are_made_up_for_by_more_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two bytes per vector, of no structure, the first candidates are hardly better than any others."""
    vectors = Vectors([np.random.default_rng(5).normal(size=(5000, DIMENSION)).astype(np.float32)])
    index = approximate.filled_whole(approximate.trained("IVF16,PQ2", vectors), vectors)
    questions = clustered(64, 2)

    def told() -> Measured:
        return approximate.measured(index, "IVF16,PQ2", vectors, questions, 5, num_bytes=1)

    enough = told()
    assert enough.recall >= AIM
    assert enough.candidates > MIN_CANDIDATES
    few = Approximate(index, vectors, 16).search(questions, 5)
    monkeypatch.setattr(approximate, "MOST_CANDIDATES", MIN_CANDIDATES)
    worst = told()
    assert worst.candidates == MIN_CANDIDATES
    assert worst.recall < FOUND_AT_LEAST
    exact = exact_search(vectors, questions, 5)
    assert worst.recall <= np.mean(
        [len(set(a) & set(b)) / 5 for a, b in zip(few.tolist(), exact.tolist(), strict=True)]
    )


def test_an_index_that_finds_too_few_is_told() -> None:
    told = {"kind": "ivfpq", "factory": "IVF1,PQ2", "num_bytes": 1e6, "k": 5, "num_questions": 9}
    assert told_index({**told, "recall": 0.981}).endswith("(9 training questions).")
    assert "That is below 98%: set retrieval.index to ivf" in told_index({**told, "recall": 0.9})


@pytest.mark.parametrize("kind", ["ivf", "ivfrabitq", "IVF16,SQ8", *LEARN_LONG])
def test_an_index_filled_from_codes_is_the_one_that_faiss_fills(
    vectors: Vectors, trained: Callable[[str], Any], kind: str
) -> None:
    factory = factory_of(kind, ROWS, DIMENSION)
    ours, theirs = trained(factory), trained(factory)
    assert approximate.can_encode(ours)
    approximate.filled(ours, [approximate.encoded(ours, vectors[:7000]), approximate.encoded(ours, vectors[7000:ROWS])])
    approximate.filled_whole(theirs, vectors)
    assert ours.ntotal == theirs.ntotal == ROWS
    for index in (ours, theirs):
        approximate._set_effort(index, 8)
    questions = clustered(20, 3)
    assert ours.search(questions, 10)[1].tolist() == theirs.search(questions, 10)[1].tolist()


def test_a_question_near_an_empty_list_still_gets_its_passages(vectors: Vectors) -> None:
    index = approximate.filled_whole(approximate.trained("IVF1024,Flat", vectors), vectors)
    questions = clustered(8, 4)
    found = Approximate(index, vectors, 1).search(questions, 40)
    assert found.shape == (8, 40)
    assert all(len(set(row)) == 40 for row in found.tolist())


@pytest.mark.parametrize("factory", ["IVF16,PQ7", "Nonsense"])
def test_a_string_that_faiss_does_not_know_is_named(factory: str) -> None:
    with pytest.raises(InputError, match=f"retrieval.index: got '{factory}' for vectors of 32 dimensions; expected"):
        approximate.empty_index(factory, DIMENSION)


def test_an_index_has_more_lists_for_more_passages_and_codes_that_fit_the_vectors() -> None:
    assert factory_of("ivfpq", 5_000_000, 384) == "IVF4096,PQ48"
    assert factory_of("ivfpq", 30_000_000, 768) == "IVF32768,PQ96"
    assert factory_of("ivf", 10, 30) == "IVF1,Flat"
    assert factory_of("ivfpq", 2000, 30) == "IVF2,PQ3"
    # Codes of few dimensions have more bits for each, so that a code tells as much.
    assert factory_of("ivfrabitq", 1_000_000, 384) == "RR384,IVF1024,RaBitQ"
    assert factory_of("ivfrabitq", 1_000_000, 128) == "RR128,IVF1024,RaBitQ2"
    assert factory_of("ivfrabitq", 1_000_000, 64) == "RR64,IVF1024,RaBitQ4"
    assert factory_of("ivfrabitq", 1_000_000, 8) == "RR8,IVF1024,RaBitQ8"
