"""An index that looks at a part of the vectors only: built in steps that can be cut, and its candidates re-scored.

What faiss compares are short codes; the best of its candidates are found by their vectors themselves. N queries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from raggrid.errors import InputError
from raggrid.rag.index import Positions, exact_search
from raggrid.rag.vectors import Floats, Vectors
from raggrid.space.settings import INDEX_KINDS

Codes = npt.NDArray[np.uint8]
POINTS_PER_LIST = 39  # that faiss asks for when it trains a list or a code
ROWS_PER_LIST = 1024  # roughly: a list is compared whole
DIMENSIONS_PER_BYTE = 8  # of a product code
BITS_PER_CODE = 256  # of RaBitQ, at least: 64 dimensions of one bit each need 16 times the candidates
CANDIDATES = 40  # per passage wanted
MIN_CANDIDATES = 400
MOST_CANDIDATES = 16 * MIN_CANDIDATES  # short codes rank badly: with 8 bytes per vector 3,200 were needed
AIM = 0.99  # of the exact search's passages; candidates and effort are raised until then
NEARLY = 0.005
EFFORTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # lists, or nodes of a graph, looked at
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How an index compares with exact search on a sample of questions.

    ``factory``: what faiss calls it. ``effort``: lists or nodes that a search looks at; 0 where it has no such number.
    ``candidates``: passages that it re-scores by their vectors, at least. ``recall``: the share of the exact search's
    first ``k`` passages that are among its own first ``k``. ``num_bytes``: of the index, without the vectors.
    """

    factory: str
    effort: int
    candidates: int
    recall: float
    k: int
    num_questions: int
    milliseconds_per_question: float
    num_bytes: int


def factory_of(kind: str, count: int, dimension: int) -> str:
    """What faiss calls an index of this kind over ``count`` vectors; a factory string is itself.

    >>> factory_of("ivfpq", 5_000_000, 384)
    'IVF4096,PQ48'
    """
    lists = 2 ** max(0, round(math.log2(max(1, count) / ROWS_PER_LIST)))
    bytes_per_code = next(n for n in range(max(1, dimension // DIMENSIONS_PER_BYTE), 0, -1) if dimension % n == 0)
    bits = max(1, BITS_PER_CODE // dimension)
    named = {
        "ivf": f"IVF{lists},Flat",
        "ivfpq": f"IVF{lists},PQ{bytes_per_code}",
        "ivfrabitq": f"RR{dimension},IVF{lists},RaBitQ{min(bits, 8) if bits > 1 else ''}",
        "hnsw": "HNSW32,SQ8",
    }
    return named.get(kind, kind)


def empty_index(factory: str, dimension: int) -> Any:
    """A faiss index to be trained. Raises `InputError` for a string that is not one of faiss's."""
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        why = str(error).rpartition(": ")[2].strip()
        raise InputError(
            f"retrieval.index: got '{factory}' for vectors of {dimension} dimensions; expected one of "
            f"{', '.join(INDEX_KINDS)}, or a factory string of faiss's that fits them ({why}). Correct it."
        ) from None


def trained(factory: str, vectors: Vectors) -> Any:
    """An index without vectors that has learnt how they lie, from a sample of them.

    Raises:
        InputError: it is not one of faiss's, or there are too few vectors to learn from.
    """
    index = empty_index(factory, vectors.dimension)
    lists = faiss.try_extract_index_ivf(index)
    wanted = POINTS_PER_LIST * max(256, lists.nlist if lists is not None else 0)
    places = np.random.default_rng(SEED).choice(len(vectors), min(wanted, len(vectors)), replace=False)
    try:
        index.train(vectors[np.sort(places)])
    except RuntimeError as error:
        raise InputError(
            f"retrieval.index: got '{factory}' for {len(vectors):,} passages; expected more of them "
            f"({str(error).rpartition(': ')[2].strip()}). Set it to flat, which is fast for so few."
        ) from None
    return index


def can_encode(index: Any) -> bool:
    """Whether vectors can be encoded apart from the index, so that a build that is cut loses little."""
    inner = _inner(index)
    return type(inner) in (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFRaBitQ)


def encoded(index: Any, vectors: Floats) -> Codes:
    """(N, bytes) codes of vectors, their list included."""
    return np.asarray(index.sa_encode(vectors))


def filled(index: Any, codes: Iterable[Codes]) -> Any:
    """The index with the vectors of these codes, in their order."""
    inner = _inner(index)
    for part in codes:
        inner.add_sa_codes(part)
    index.ntotal = inner.ntotal
    return index


def filled_whole(index: Any, vectors: Vectors) -> Any:
    """The index with all vectors, for kinds whose codes cannot be kept apart."""
    for _, block in vectors.blocks():
        index.add(block)
    return index


def save(index: Any, path: Path) -> None:
    """Write an index, trained or filled."""
    faiss.write_index(index, str(path))


def load(path: Path, *, mapped: bool = False) -> Any:
    """Read an index; ``mapped``: its lists stay on disk, of which all processes of a machine share one copy."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)


@dataclass(frozen=True)
class Approximate:
    """So many ``candidates`` from a faiss index, or `CANDIDATES` per passage wanted; the best of them by their vectors.

    ``effort``: lists or nodes of the index that a search looks at.
    """

    index: Any
    vectors: Vectors
    effort: int
    candidates: int = MIN_CANDIDATES

    def search(self, queries: Floats, k: int) -> Positions:
        """(N, k) positions, best first. Raises ``RuntimeError`` where the index finds fewer than k."""
        _set_effort(self.index, self.effort)
        depth = min(max(self.candidates, CANDIDATES * k), len(self.vectors))
        _, found = self.index.search(queries, depth)
        rows = [self._best(query, row[row >= 0], k) for query, row in zip(queries, found, strict=True)]
        return np.stack(rows)

    def _best(self, query: Floats, candidates: Positions, k: int) -> Positions:
        if len(candidates) < k:
            return np.asarray(exact_search(self.vectors, query[None], k)[0])
        scores = self.vectors[candidates] @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return np.asarray(candidates[order])


@dataclass(frozen=True)
class _Tried:
    effort: int
    candidates: int
    recall: float
    seconds: float


def measured(index: Any, factory: str, vectors: Vectors, queries: Floats, k: int, num_bytes: int) -> Measured:
    """The fewest candidates, and with them the least effort, at which an index finds `AIM` of what exact search finds.

    More lists or nodes are looked at first, since they cost least; if all of them do not suffice, more candidates are
    re-scored. Where nothing does, the least of both that finds nearly as much as any.

    Args:
        index: trained and filled.
        factory: what faiss calls it.
        vectors: what it was filled with.
        queries: (N, D) vectors of questions.
        k: passages per question.
        num_bytes: of the index on disk.
    """
    k = min(k, len(vectors))
    exact = exact_search(vectors, queries, k)
    lists = faiss.try_extract_index_ivf(index)
    top = lists.nlist if lists is not None else EFFORTS[-1]
    efforts = [effort for effort in EFFORTS if effort < top] + [top] if _has_effort(index) else [0]

    def tried(effort: int, candidates: int) -> _Tried:
        began = time.perf_counter()
        found = Approximate(index, vectors, effort, candidates).search(queries, k)
        recall = float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, exact, strict=True)]))
        return _Tried(effort, candidates, recall, time.perf_counter() - began)

    every = _until_aim(tried(effort, MIN_CANDIDATES) for effort in efforts)
    if every[-1].recall < AIM:
        deeper = [every[-1], *_until_aim(tried(efforts[-1], candidates) for candidates in _candidates(len(vectors)))]
        fewest = next(one.candidates for one in deeper if one.recall >= _enough(deeper))
        every = _until_aim(tried(effort, fewest) for effort in efforts) if fewest > MIN_CANDIDATES else every
    chosen = next(one for one in every if one.recall >= _enough(every))
    return Measured(
        factory=factory, effort=chosen.effort, candidates=chosen.candidates, recall=chosen.recall, k=k,
        num_questions=len(queries), milliseconds_per_question=1000 * chosen.seconds / len(queries),
        num_bytes=num_bytes,
    )  # fmt: skip


def _candidates(count: int) -> Iterator[int]:
    """Twice as many again and again, of ``count`` vectors."""
    candidates = MIN_CANDIDATES
    while candidates < min(count, MOST_CANDIDATES):
        yield (candidates := 2 * candidates)


def _until_aim(tries: Iterable[_Tried]) -> list[_Tried]:
    made: list[_Tried] = []
    for one in tries:
        made.append(one)
        if one.recall >= AIM:
            break
    return made


def _enough(every: Sequence[_Tried]) -> float:
    best = max(one.recall for one in every)
    return AIM if best >= AIM else best - NEARLY


def _inner(index: Any) -> Any:
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _has_effort(index: Any) -> bool:
    return isinstance(_inner(index), (faiss.IndexIVF, faiss.IndexHNSW))


def _set_effort(index: Any, effort: int) -> None:
    inner = _inner(index)
    if isinstance(inner, faiss.IndexIVF):
        inner.nprobe = effort
    elif isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = effort
