"""Files of rows, read one row at a time: JSON Lines, JSON, CSV, TSV and Parquet, plain or packed by gzip or zstd."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from raggrid.data.formats.problems import Place, Problems, Row, shown
from raggrid.errors import DataError

PACKED = {".gz": "gzip", ".zst": "zstd"}
READ_AT_ONCE = 1 << 20  # characters of a JSON file without lines
_LIST = re.compile(r'\s*(?:\[|\{[^\[\]]*?"data"\s*:\s*\[)')  # a list of rows, or SQuAD's object with one
_GAP = re.compile(r"[\s,]*")
LONGEST_FIELD = 1 << 30  # characters of a CSV field; the library's own limit is less than a long article


class RowTable(Protocol):
    """Rows with a name: a file's, or those of a split on the hub."""

    @property
    def path(self) -> Path:
        """What messages call it."""

    def rows(self, problems: Problems) -> Iterator[Row]:
        """(place, row) of each row; a broken one is noted and left out."""


@dataclass(frozen=True)
class FileTable:
    """The rows of a file."""

    path: Path

    def rows(self, problems: Problems) -> Iterator[Row]:
        found = False
        for place, row in READERS[suffix_of(self.path)](self.path, problems):
            found = True
            if isinstance(row, dict):
                yield place, row
            else:
                problems.note(place, 'got {}; expected an object such as {{"id": ...}}.', shown(row))
        if not found and not any(file == self.path for file, _ in problems):
            problems.note(Place(self.path), "got no rows; expected at least one. Fill the file.")


def suffix_of(path: Path) -> str:
    """The suffix that says how a file is read: ``.jsonl`` of ``train.jsonl.gz``; empty for a file of no known kind."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else ""


def stem_of(path: Path) -> str:
    """The name without those suffixes: ``train`` of ``train.jsonl.gz``."""
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in PACKED else path.name
    return Path(name).stem


def _opened(path: Path) -> BinaryIO:
    import pyarrow as pa

    stream = pa.input_stream(str(path), compression=PACKED.get(path.suffix.lower()))
    return io.BufferedReader(stream, READ_AT_ONCE)


def _lines(path: Path, problems: Problems) -> Iterator[tuple[Place, Any]]:
    with _opened(path) as stream:
        for number, line in enumerate(_checked(stream, path), start=1):
            place = Place(path, f":{number}")
            try:
                text = line.decode("utf-8-sig").strip()
                if text:
                    yield place, json.loads(text)
            except UnicodeDecodeError:
                problems.note(place, "got bytes that are not UTF-8; expected UTF-8 text. Convert the file.")
            except json.JSONDecodeError as error:
                problems.note(place, "not JSON: {} at column {}. Fix the line.", error.msg, error.colno)


def _checked(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Its lines. Raises `DataError` where a packed file is damaged."""
    try:
        yield from stream
    except OSError as error:
        raise DataError(f"{path}: unreadable: {' '.join(str(error).split())}. Download the file again.") from None


def _json(path: Path, problems: Problems) -> Iterator[tuple[Place, Any]]:
    """The items of a list, or of the list ``data`` of an object; JSON Lines under this name are read as such."""
    start = None
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig") as stream:
        try:
            start = _LIST.match(head := stream.read(READ_AT_ONCE))
            if start:
                for number, item in enumerate(_items(stream, head[start.end() :]), start=1):
                    yield Place(path, f": row {number}"), item
        except UnicodeDecodeError:
            problems.note(Place(path), "got bytes that are not UTF-8; expected UTF-8 text. Convert the file.")
        except json.JSONDecodeError as error:
            problems.note(Place(path), "not JSON: {}. Fix the file, or download it again.", error.msg)
        except OSError as error:
            raise DataError(f"{path}: unreadable: {' '.join(str(error).split())}. Download the file again.") from None
    if start is None:
        yield from _lines(path, problems)


def _items(stream: io.TextIOWrapper, text: str) -> Iterator[Any]:
    """The items of a JSON list whose bracket has been read; ``text`` is what was read behind it."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        at = gap.end() if (gap := _GAP.match(text, at)) else at
        if text[at : at + 1] == "]":
            return
        try:
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            more = stream.read(max(READ_AT_ONCE, len(text)))
            if not more:
                raise
            text, at = text[at:] + more, 0
            continue
        yield item


def _separated(delimiter: str) -> Callable[[Path, Problems], Iterator[tuple[Place, Any]]]:
    def read(path: Path, problems: Problems) -> Iterator[tuple[Place, Any]]:
        csv.field_size_limit(LONGEST_FIELD)
        with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            try:
                for row in reader:
                    yield Place(path, f":{reader.line_num}"), {key: value for key, value in row.items() if key}
            except UnicodeDecodeError:
                problems.note(Place(path), "got bytes that are not UTF-8; expected UTF-8 text. Convert the file.")
            except (csv.Error, OSError) as error:
                raise DataError(f"{path}: unreadable: {' '.join(str(error).split())}. Write the file again.") from None

    return read


def _parquet(path: Path, _: Problems) -> Iterator[tuple[Place, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield Place(path, f": row {number}"), row
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: unreadable as Parquet: {error}. Write the file again.") from None


READERS: Mapping[str, Callable[[Path, Problems], Iterator[tuple[Place, Any]]]] = {
    ".jsonl": _lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
