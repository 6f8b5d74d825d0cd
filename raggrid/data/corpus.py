"""The passages of a corpus by row, in Arrow: mapped from a file that all processes of a machine share, or in memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raggrid.errors import DataError
from raggrid.rag.references import file_digest
from raggrid.records import Passage
from raggrid.store.cache import VARIABLE, cache_folder, made_once, text_made_once

COLUMNS = ("id", "title", "text")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
ROWS = 1 << 14  # per batch of an Arrow file
SEARCHED_AT_ONCE = 64  # batches
SHARED_BYTES = 1 << 25  # of files from which a corpus is read faster than it is found in the cache
FORMAT = "1"  # of the files in the cache


class Corpus(Sequence[Passage]):
    """Checked passages, addressed by row. A process that reads k of them touches k rows.

    ``digest`` is that of the file that they were read from, if they are mapped from the cache; None in memory.
    """

    def __init__(self, source: Path | pa.Buffer, digest: str | None = None) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(source)) if isinstance(source, Path) else source)
        self.digest, self._source = digest, source
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._ends = np.cumsum([len(batch) for batch in self._batches], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, place: int) -> Passage: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Passage]: ...
    def __getitem__(self, place: int | slice) -> Passage | Sequence[Passage]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(*place.indices(len(self))))
        row = place + len(self) if place < 0 else place
        if not 0 <= row < len(self):
            raise IndexError(f"passage {place}: got a corpus of {len(self):,}; expected a row of it.")
        number = int(np.searchsorted(self._ends, row, side="right"))
        batch = self._batches[number]
        offset = int(row - self._ends[number] + len(batch))
        return Passage(**{name: batch.column(name)[offset].as_py() for name in COLUMNS})

    def __iter__(self) -> Iterator[Passage]:
        for columns in self.columns(*COLUMNS):
            yield from (Passage(id=i, title=title, text=text) for i, title, text in zip(*columns, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def columns(self, *names: str) -> Iterator[tuple[list[str], ...]]:
        """The values of these columns, some thousand rows at a time.

        A mapped corpus is read beside the map: a whole pass would otherwise keep all of it in memory.
        """
        fields = pa.ipc.IpcReadOptions(included_fields=[COLUMNS.index(name) for name in names], use_threads=False)
        source = pa.OSFile(str(self._source)) if isinstance(self._source, Path) else self._source
        reader = pa.ipc.open_file(source, options=fields)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield tuple(batch.column(name).to_pylist() for name in names)

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each of these ids that the corpus has; of one that stands twice, the first."""
        wanted = pa.array(sorted(set(ids)), pa.string())
        found: dict[str, int] = {}
        for first in range(0, len(self._batches) if len(wanted) else 0, SEARCHED_AT_ONCE):
            parts = self._batches[first : first + SEARCHED_AT_ONCE]
            start = int(self._ends[first]) - len(parts[0])
            column = pa.chunked_array([part.column("id") for part in parts])
            rows = np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy())
            for row, name in zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True):
                found.setdefault(name, start + row)
        return found


def places_of(passages: Sequence[Passage], ids: Iterable[str]) -> dict[str, int]:
    """The place of each of these ids among ``passages``; those that are not there are missing."""
    if isinstance(passages, Corpus):
        return passages.places(ids)
    wanted = set(ids)
    return {passage.id: place for place, passage in enumerate(passages) if passage.id in wanted}


Fields = tuple[str, str, str]
"""Id, title and text of a passage."""


def corpus_of(
    files: Sequence[Path], read: Callable[[], Iterable[Fields]], is_right: Callable[[Corpus], bool]
) -> Corpus:
    """The passages that ``read`` finds in ``files``: in memory, or where these are large, mapped from the cache.

    Args:
        files: all that the passages follow from. None: they are kept in memory, whatever their number.
        read: called where the cache does not have them yet.
        is_right: called once with what was read. A corpus that is wrong is not kept in the cache.

    Raises:
        DataError: the cache cannot be written.
    """
    if sum(path.stat().st_size for path in files) < SHARED_BYTES:
        sink = pa.BufferOutputStream()
        _write(read(), sink)
        corpus = Corpus(sink.getvalue())
        is_right(corpus)
        return corpus
    found: list[Corpus] = []

    def make(part: Path) -> None:
        _write(read(), str(part))
        found.append(Corpus(part))
        if not is_right(found[0]):
            raise _Wrong

    try:
        digest = _digest("corpus", FORMAT, *map(file_digest, files))
        return Corpus(made_once(f"corpora/{digest}.arrow", make), digest)
    except _Wrong:
        return found[0]  # still mapped, though its file is gone
    except OSError as error:
        raise DataError(
            f"{cache_folder()}: cannot be written: {error}. Set {VARIABLE} to a folder with room for the corpus."
        ) from None


class _Wrong(Exception):
    """A corpus that is not worth keeping."""


def _write(rows: Iterable[Fields], sink: Any) -> None:
    left = iter(rows)
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        while part := list(islice(left, ROWS)):
            writer.write_batch(pa.record_batch([pa.array(c, pa.string()) for c in zip(*part, strict=True)], SCHEMA))


def content_hash(corpus: Corpus, questions: bytes) -> str:
    """sha256 over all passages and then ``questions``; of a corpus in the cache, computed once for equal questions.

    Raises:
        OSError: the cache cannot be written.
    """
    if corpus.digest is None:
        return _hash(corpus, questions)
    name = f"hashes/{_digest(corpus.digest, hashlib.sha256(questions).hexdigest())}"
    return text_made_once(name, lambda: _hash(corpus, questions))


def _hash(corpus: Corpus, questions: bytes) -> str:
    """Of each passage as an object in JSON, without spaces or commas between objects."""
    digest, quoted = hashlib.sha256(), json.encoder.encode_basestring
    for rows in corpus.columns("id", "text", "title"):
        digest.update(
            "".join(
                [f'{{"id": {quoted(i)}, "text": {quoted(text)}, "title": {quoted(title)}}}'
                 for i, text, title in zip(*rows, strict=True)]
            ).encode()
        )  # fmt: skip
    digest.update(questions)
    return digest.hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


def repeated_ids(corpus: Corpus) -> set[str]:
    """The ids that stand in more than one row. Costs 8 bytes per row."""
    hashes = np.concatenate([np.empty(0, np.int64), *(_hashed(ids) for (ids,) in corpus.columns("id"))])
    hashes.sort()
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return set()
    counts = Counter[str]()
    for (ids,) in corpus.columns("id"):
        counts.update(name for name, is_one in zip(ids, np.isin(_hashed(ids), twice), strict=True) if is_one)
    return {name for name, count in counts.items() if count > 1}


def _hashed(ids: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
