"""The index against a plain search; whatever index a space asks for has to pass here."""

from __future__ import annotations

import numpy as np
import pytest

from raggrid.rag.index import Floats, Index
from raggrid.space.settings import Retrieval


def unit(rows: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("retrieval", [Retrieval()], ids=str)
def test_the_nearest_passages_come_first(retrieval: Retrieval) -> None:
    passages, questions = unit(200), unit(9, seed=1)
    found = Index(passages, retrieval).search(questions, 5)
    expected = np.argsort(-questions @ passages.T, axis=1)[:, :5]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("retrieval", [Retrieval()], ids=str)
def test_more_passages_than_there_are_cannot_be_had(retrieval: Retrieval) -> None:
    index = Index(unit(3), retrieval)
    assert len(index) == 3
    assert index.search(unit(2, seed=1), 7).shape == (2, 3)
