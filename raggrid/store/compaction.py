"""Many small files of a table -> few large ones, while others may be reading.

Levels keep the work small: files are merged with those of a lower level only, which are always the last of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.store.files import Files
from raggrid.store.table_names import level_of, merged_name, up_to_date
from raggrid.store.tables import TABLES, aligned_rows, schema

SMALL_FILES = 32  # as many of one level are merged during a session
OF_SESSION = 2  # the level of what a session leaves
SESSIONS = 8  # as many of these, and of each higher level, are merged
GROUP_ROWS = 2_000  # a row group holds as many or more; large enough to be read fast, small enough to be skipped
AT_ONCE = 16  # deletions under way: an object store takes its time for each


def merge_small(files: Files, record: type) -> None:
    """Merge what has piled up during a session."""
    _merge_from(files, record, 0, SMALL_FILES)


def merge_all(files: Files, record: type) -> None:
    """Merge what a session has left, and sessions where there are many of them."""
    _merge(files, record, OF_SESSION)
    _merge_from(files, record, OF_SESSION, SESSIONS)


def _merge_from(files: Files, record: type, level: int, many: int) -> None:
    """Merge each level from the lowest on, as long as it has so many files."""
    while sum(level_of(name) == level for name in up_to_date(files.names(TABLES[record]))) >= many:
        level += 1
        _merge(files, record, level)


def _merge(files: Files, record: type, level: int) -> None:
    """Replace the last files of a table, all that are below ``level``, by one."""
    folder = TABLES[record]
    names = files.names(folder)
    known = up_to_date(names)
    higher = [place for place, name in enumerate(known) if level_of(name) >= level]
    parts = known[higher[-1] + 1 if higher else 0 :]
    if len(parts) > 1:
        content = _merged(files, [f"{folder}/{name}" for name in parts], record)
        files.write(f"{folder}/{merged_name(parts, level)}", content)
        names = [*names, merged_name(parts, level)]
    outdated = {name for name in names if name.endswith(".parquet")} - set(up_to_date(names))
    _each_at_once(files.delete, [f"{folder}/{name}" for name in sorted(outdated)])


def _merged(files: Files, parts: Sequence[str], record: type) -> bytes:
    content = pa.BufferOutputStream()
    with pq.ParquetWriter(content, schema(record)) as writer:
        for group in _groups(aligned_rows(files, part, record) for part in parts):
            writer.write_table(group, row_group_size=max(1, len(group)))
    return bytes(content.getvalue())


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Whole tables together, so that the answers of a pipeline stay in one group."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _each_at_once(do: Callable[[str], None], names: Sequence[str]) -> None:
    if names:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(do, names))
