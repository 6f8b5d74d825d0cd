"""Columns of tables of millions of rows as numpy arrays, without a Python object per row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raggrid.store.files import Location, files_at
from raggrid.store.tables import read_file, schema


def columns(table: pa.Table, names: Iterable[str]) -> dict[str, Any]:
    """Some columns of an Arrow table as numpy arrays, by name."""
    return {name: table[name].to_numpy(zero_copy_only=False) for name in names}


def read_columns(
    run: Location,
    parts: Sequence[str],
    record: type,
    names: Sequence[str],
    *,
    split: str,
    first_rows: int | None = None,
) -> pa.Table:
    """Some columns of a table's rows of one split, as Arrow.

    Rows come in the order written, superseded ones included. Strings are dictionary-encoded, with one dictionary per
    column (see `codes`); a column that a file lacks, since it was written before the column was added, is null.

    Args:
        run: the run directory.
        parts: those of `table_files`, listed once for several reads, since a running study adds more.
        record: the table's record class.
        names: the columns.
        split: the split whose rows are read.
        first_rows: read at most this many rows of each file.
    """
    files, wanted = files_at(run), schema(record)
    tables = [read_file(files, part, lambda source: _part(source, wanted, names, split, first_rows)) for part in parts]
    found = [table for table in tables if table is not None]
    return pa.concat_tables(found or [_encoded(wanted.empty_table().select(list(names)))]).unify_dictionaries()


def _part(
    file: pa.NativeFile, wanted: pa.Schema, names: Sequence[str], split: str, first_rows: int | None
) -> pa.Table | None:
    strings = [field.name for field in wanted if field.type == pa.string()]
    source = pq.ParquetFile(file, read_dictionary=strings)
    splits = source.read(["split"])["split"].unique().to_pylist()
    if split not in splits:
        return None
    mixed = len(splits) > 1
    present = [*(["split"] if mixed else []), *(name for name in names if name in source.schema_arrow.names)]
    if first_rows is None:
        table = source.read(present)
    else:
        table = pa.Table.from_batches([next(source.iter_batches(first_rows, columns=present))])
    if mixed:
        table = table.filter(pc.equal(table["split"].cast(pa.string()), split))
    filled = [table[name] if name in present else pa.nulls(len(table), wanted.field(name).type) for name in names]
    return _encoded(pa.table(filled, names=list(names)))


def _encoded(table: pa.Table) -> pa.Table:
    """Strings as dictionaries, whether or not the file stores them that way."""
    done = [c.dictionary_encode() if c.type == pa.string() else c for c in table.columns]
    return pa.table(done, names=table.column_names)


def codes(table: pa.Table, name: str) -> tuple[Any, list[str]]:
    """A string column of `read_columns`: (rows,) indices into the list of its values, and that list."""
    chunks = table[name].chunks
    values = chunks[0].dictionary.to_pylist() if chunks else []
    # By DLPack, since Arrow's own way to numpy imports pandas, which takes longer than reading a small study.
    places = [np.from_dlpack(chunk.indices) for chunk in chunks if len(chunk)]
    return np.concatenate([np.empty(0, dtype=np.int32), *places]), values


def numbers(table: pa.Table, name: str, key: str | None = None) -> Any:
    """A numeric column of `read_columns`, or what its maps have under ``key``, as (rows,) floats; nan for null."""
    column = table[name].cast(pa.float64()) if key is None else values_under(table, name, key)
    return np.concatenate([np.empty(0), *(_floats(chunk) for chunk in column.chunks)])


def values_under(table: pa.Table, name: str, key: str) -> pa.ChunkedArray:
    """What a column of maps has under a key, as a column; null where a row does not have the key."""
    return pc.map_lookup(table[name], pa.scalar(key), "first")


def _floats(chunk: pa.Array) -> Any:
    if not chunk.null_count:
        return np.from_dlpack(chunk)
    values = np.full(len(chunk), np.nan)
    values[np.from_dlpack(chunk.is_valid().cast(pa.int8())).astype(bool)] = np.from_dlpack(chunk.drop_null())
    return values
