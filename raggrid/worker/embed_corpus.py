"""The index task: passages -> vectors -> what they are searched by, in parts that a killed task does not lose.

A part is a file in the run directory, there whole or not at all; the next start makes those that are missing. Those of
a large corpus are also kept in the cache, where the next study with the same corpus, embedder and prompt finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from raggrid.data.corpus import Corpus
from raggrid.data.folder import Dataset
from raggrid.data.sampling import sampled
from raggrid.finetune.batches import shard
from raggrid.finetune.labels import mined_negatives
from raggrid.finetune.workers import Worker
from raggrid.rag import approximate
from raggrid.rag.approximate import Approximate
from raggrid.rag.embedder import Embedder
from raggrid.rag.index import Index
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import PromptWriter, passage_text
from raggrid.rag.references import model_files
from raggrid.rag.retrievers import LiveRetriever
from raggrid.rag.vectors import Stored, Vectors
from raggrid.space.search_space import SearchSpace
from raggrid.store.cache import accept, is_on_this_machine, offer, on_this_machine
from raggrid.store.files import Files, read_bytes
from raggrid.store.run_layout import (
    CODES,
    MEASURED,
    NEGATIVES,
    PARTS,
    PARTS_WRITTEN,
    SEARCH,
    TRAINED,
    VECTORS,
    part_name,
)

PART_ROWS = 1 << 14  # passages: what a kill loses at most
FEW_ROWS = 1 << 8  # of a corpus that is no larger than that, whose parts several CPUs embed side by side
SAMPLE = 256  # questions on which an index is compared with exact search
FORMAT = "1"  # of what the cache keeps


@dataclass(frozen=True)
class Parts:
    """``total`` passages in parts of ``rows``, the last of which may be smaller.

    ``key`` names what their vectors follow from; None where the cache does not keep them.
    """

    total: int
    rows: int
    key: str | None

    @property
    def names(self) -> list[str]:
        """Of their files."""
        count = -(-self.total // self.rows)
        return [part_name(number, count) for number in range(count)]

    def places(self, number: int) -> slice:
        """The passages of a part."""
        return slice(number * self.rows, min((number + 1) * self.rows, self.total))

    def shared(self, name: str) -> str:
        """What a file of theirs is called in the cache."""
        return f"vectors/{self.key}/{name}"


def embed_corpus(run: Files, space: SearchSpace, data: Dataset, embedder: Embedder, worker: Worker) -> None:
    """Do what is missing of the index task: every worker its parts, the first one what comes after them."""
    parts = parts_of(space, data, worker.world_size)
    if len(parts.names) == 1:  # in one file, as ever; without other workers
        vectors = _embedded(embedder, data, slice(0, parts.total), space)
        _make_searchable(run, space, data, embedder, worker, parts, Vectors([vectors]))
        _write(run, VECTORS, vectors)
        return
    embed_shard(run, space, data, embedder, worker)
    worker.wait()
    _make_searchable(run, space, data, embedder, worker, parts, _opened(run, parts.names, parts.key))
    if worker.is_first:
        run.write(PARTS_WRITTEN, json.dumps({"names": parts.names, "key": parts.key}).encode())
    worker.wait()


def embed_shard(
    run: Files, space: SearchSpace, data: Dataset, embedder: Embedder, worker: Worker, shard: tuple[int, int] = (0, 1)
) -> None:
    """Embed what is missing of the parts, where there are several; of the given one of so many shards."""
    parts, (place, count) = parts_of(space, data, worker.world_size), shard
    ranked = replace(worker, rank=place * worker.world_size + worker.rank, world_size=count * worker.world_size)
    for number in _missing(run, PARTS, parts, ranked):
        name, part = f"{PARTS}/{parts.names[number]}", parts.places(number)
        if not (parts.key and accept(run, name, parts.shared(parts.names[number]))):
            _write(run, name, _embedded(embedder, data, part, space))
            if parts.key:
                offer(run, name, parts.shared(parts.names[number]))


def passage_vectors(run: Files) -> Vectors:
    """What the index task left: one copy for all processes of a machine where the run directory is on it."""
    if run.exists(PARTS_WRITTEN):
        written = json.loads(read_bytes(run, PARTS_WRITTEN))
        return _opened(run, written["names"], written["key"])
    if is_on_this_machine(run):
        return Vectors.mapped([on_this_machine(run, VECTORS, "")])
    with run.reading(VECTORS) as path:
        return Vectors([np.load(path)])


def passage_search(run: Files, vectors: Vectors) -> Index:
    """The index over ``vectors`` as the index task left it."""
    if not run.exists(MEASURED):
        return Index(vectors)
    measured = json.loads(read_bytes(run, MEASURED))
    candidates = measured.get("candidates", approximate.MIN_CANDIDATES)  # an older study names none
    found = _filled(run, measured["shared"])
    return Index(vectors, Approximate(found, vectors, measured["effort"], candidates))


def parts_of(space: SearchSpace, data: Dataset, num_workers: int) -> Parts:
    """As many parts as there are workers, or more of them where these would be of more rows than a part has."""
    total = len(data.passages)
    rows = min(FEW_ROWS if total <= PART_ROWS else PART_ROWS, -(-total // num_workers))
    corpus = data.passages.digest if isinstance(data.passages, Corpus) else None
    return Parts(total, rows, _key(space, corpus) if corpus else None)


def _key(space: SearchSpace, corpus: str) -> str:
    models = space.models
    embedder = model_files(models.embedder) or models.embedder
    made_by = [FORMAT, corpus, embedder, models.passage_prompt, models.truncate_dim, space.retrieval.vectors]
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:32]


def _embedded(embedder: Embedder, data: Dataset, places: slice, space: SearchSpace) -> Stored:
    vectors = embedder.encode_passages([passage_text(passage) for passage in data.passages[places]])
    return vectors.astype(space.retrieval.vectors, copy=False)


def _missing(run: Files, folder: str, parts: Parts, worker: Worker) -> Iterator[int]:
    """The parts that fall to this worker and are not there."""
    there = set(run.names(folder))
    for number in shard(list(range(len(parts.names))), worker.rank, worker.world_size):
        if parts.names[number] not in there:
            yield number


def _opened(run: Files, names: Sequence[str], key: str | None) -> Vectors:
    if key or is_on_this_machine(run):
        return Vectors.mapped([on_this_machine(run, f"{PARTS}/{name}", f"vectors/{key}/{name}") for name in names])
    parts = []
    for name in names:
        with run.reading(f"{PARTS}/{name}") as path:
            parts.append(np.load(path))
    return Vectors(parts)


def _make_searchable(
    run: Files, space: SearchSpace, data: Dataset, embedder: Embedder, worker: Worker, parts: Parts, vectors: Vectors
) -> None:
    """Build the index that the space asks for, and mine what is searched once."""
    if space.retrieval.index != "flat":
        _build(run, space, data, embedder, worker, parts, vectors)
    if worker.is_first and (count := space.training.labels.hard_negatives):
        pipeline = Pipeline(
            LiveRetriever(embedder, passage_search(run, vectors)), None, data.passages, PromptWriter(space.prompt)
        )
        labelled = [question for question in data.splits["train"] if question.context_ids]
        run.write(NEGATIVES, json.dumps(mined_negatives(pipeline, labelled, count)).encode())


def _build(
    run: Files, space: SearchSpace, data: Dataset, embedder: Embedder, worker: Worker, parts: Parts, vectors: Vectors
) -> None:
    """Train on a sample, keep the codes of each part, then put all of them into one file."""
    factory = approximate.factory_of(space.retrieval.index, len(vectors), vectors.dimension)
    shared = parts.shared(f"{hashlib.sha256(factory.encode()).hexdigest()[:16]}.faiss") if parts.key else None
    is_there = run.exists(SEARCH) or bool(worker.is_first and shared and accept(run, SEARCH, shared))
    if worker.is_first and not is_there and not run.exists(TRAINED):
        _write_index(run, TRAINED, approximate.trained(factory, vectors))
    worker.wait()
    if not run.exists(SEARCH):
        with run.reading(TRAINED) as path:
            index = approximate.load(path)
        if approximate.can_encode(index):
            for number in _missing(run, CODES, parts, worker):
                codes = approximate.encoded(index, vectors[parts.places(number)])
                _write(run, f"{CODES}/{parts.names[number]}", codes)
        worker.wait()
        if worker.is_first:
            _fill(run, index, vectors, parts)
    worker.wait()
    if worker.is_first:
        if shared:
            offer(run, SEARCH, shared)
        questions = [row.question for row in sampled(data.splits["train"], SAMPLE)]
        found = approximate.measured(
            _filled(run, shared), factory, vectors, embedder.encode_questions(questions),
            max(space.retrieval.top_k, space.answer_top_k), run.size(SEARCH),
        )  # fmt: skip
        run.write(MEASURED, json.dumps({**asdict(found), "kind": space.retrieval.index, "shared": shared}).encode())
        run.delete(CODES)
        run.delete(TRAINED)
    worker.wait()


def _fill(run: Files, index: object, vectors: Vectors, parts: Parts) -> None:
    if approximate.can_encode(index):
        filled = approximate.filled(index, (_codes(run, name) for name in parts.names))
    else:
        filled = approximate.filled_whole(index, vectors)
    _write_index(run, SEARCH, filled)


def _codes(run: Files, name: str) -> approximate.Codes:
    with run.reading(f"{CODES}/{name}") as path:
        return np.asarray(np.load(path))


def _filled(run: Files, shared: str | None) -> object:
    if shared or is_on_this_machine(run):
        return approximate.load(on_this_machine(run, SEARCH, shared or ""), mapped=True)
    with run.reading(SEARCH) as path:
        return approximate.load(path)


def _write(run: Files, name: str, values: Stored | approximate.Codes) -> None:
    with run.writing(name) as path, path.open("wb") as file:  # by its name alone numpy would add one of its own
        np.save(file, values)


def _write_index(run: Files, name: str, index: object) -> None:
    with run.writing(name) as path:
        approximate.save(index, path)
