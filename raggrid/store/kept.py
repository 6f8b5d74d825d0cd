"""What trials of a study need not compute again, as folders of small Parquet files that any of them may add to.

A file is there whole or not at all, and no two processes write the same one: readers take all that there is. Nothing
else depends on these folders; without them the numbers are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.store.files import Files, Location, files_at
from raggrid.store.run_layout import COMPARED_TEXTS, MICRO_BATCHES
from raggrid.store.table_names import new_name
from raggrid.store.tables import read_file


def keep(files: Files, folder: str, columns: Mapping[str, Sequence[object]]) -> str:
    """Add one file to a folder and return its name. Raises ``OSError`` where it cannot be written."""
    content, name = pa.BufferOutputStream(), new_name()
    pq.write_table(pa.table(dict(columns)), content)
    files.write(f"{folder}/{name}", content.getvalue().to_pybytes())
    return name


def kept(files: Files, folder: str, seen: set[str]) -> list[dict[str, list[Any]]]:
    """The columns of each file that is not in ``seen``, which they are put into, in the order written.

    Raises:
        RecordError: a file is damaged.
    """
    names = sorted({name for name in files.names(folder) if name.endswith(".parquet")} - seen)
    found = [read_file(files, f"{folder}/{name}", lambda s: pq.ParquetFile(s).read().to_pydict()) for name in names]
    seen.update(names)
    return found


def read_micro_batches(run: Location) -> list[dict[str, Any]]:
    """How many questions per pass trials have found to fit their devices; a row per trial that tried.

    ``micro_batch_size`` of at most ``questions`` took ``peak_bytes`` of ``usable_bytes``; the rest says where.

    Raises:
        RecordError: a file is damaged.
    """
    return _rows(run, MICRO_BATCHES)


def read_compared_texts(run: Location) -> list[dict[str, Any]]:
    """How an engine's answers compare with the default one's; a row per kind of generator that was compared.

    ``equal`` of ``compared`` texts were, of the ``pipeline_id`` and ``split`` that the row names. ``generator``:
    ``un-tuned``, ``adapter`` or ``full``.

    Raises:
        RecordError: a file is damaged.
    """
    return _rows(run, COMPARED_TEXTS)


def _rows(run: Location, folder: str) -> list[dict[str, Any]]:
    parts = kept(files_at(run), folder, set())
    return [dict(zip(part, row, strict=True)) for part in parts for row in zip(*part.values(), strict=True)]
