"""Run directories: every fact written whole or not at all, and read back.

A table is a folder of Parquet files. A reader sees all of a file or nothing. A row that is written again (a resumed
trial) supersedes the earlier one. Files may be merged while somebody reads: who misses one looks again.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.errors import RecordError
from raggrid.machine_faults import FaultRecord
from raggrid.records import (
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    QuestionRecord,
    StepRecord,
    TrialRecord,
)
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space, recorded_space
from raggrid.store.files import Files, Location, files_at, read_bytes
from raggrid.store.run_layout import ENVIRONMENT, MEASURED, SPACE
from raggrid.store.storage import R, latest
from raggrid.store.table_names import new_name, up_to_date

T = TypeVar("T")

TABLES: Mapping[type, str] = {
    TrialRecord: "trials",
    CurveRecord: "curves",
    StepRecord: "steps",
    PipelineRecord: "pipelines",
    PredictionRecord: "predictions",
    LedgerRecord: "ledger",
    QuestionRecord: "questions",
    FaultRecord: "faults",
}
SHOWN = 8  # run directories that an error names
AT_ONCE = 16  # files under way: an object store takes its time for each
LOOKS = 5
_last_names: dict[tuple[Files, str], str] = {}


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class, declared so that an all-None column keeps its type."""
    hints = typing.get_type_hints(record)
    return pa.schema([_field(field.name, hints[field.name]) for field in fields(record)])


def _field(name: str, hint: Any) -> pa.Field:
    options = [option for option in typing.get_args(hint) if option is not NoneType]
    nullable = NoneType in typing.get_args(hint)
    base = str if _is_enum(hint) else options[0] if nullable else hint
    if typing.get_origin(hint) is Mapping:
        return pa.field(name, pa.map_(pa.string(), pa.float64()))
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.field(name, plain[base] if base in plain else pa.list_(pa.string()), nullable=nullable)


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def check_free(run: Location) -> None:
    """Raises `RecordError` when a folder holds anything: a run directory starts new or empty.

    Or with what is written first, where a search was killed before it had begun.
    """
    files = files_at(run)
    try:
        is_free = set(files.names("")) <= {ENVIRONMENT}
    except NotADirectoryError:
        is_free = False
    if not is_free:
        raise RecordError(f"{files}: already holds files; expected a new or empty folder. Choose another --run.")


def create_run(run: Location, space: SearchSpace, environment: Mapping[str, object]) -> None:
    """Make a run directory with its identity and its environment.

    Raises:
        RecordError: the folder exists and is not empty, or cannot be written.
    """
    files = files_at(run)
    try:
        check_free(files)
        write_environment(files, environment)
        write_space(files, space)
    except OSError as error:
        raise RecordError(f"{files}: cannot be written: {error.strerror}. Choose another --run.") from error


def write_environment(run: Location, environment: Mapping[str, object]) -> None:
    """Keep what a study depends on beside its space, instead of what was noted earlier."""
    files_at(run).write(ENVIRONMENT, (json.dumps(environment, indent=2) + "\n").encode())


def write_space(run: Location, space: SearchSpace) -> None:
    """Keep the space that a run directory is made for, instead of an earlier one."""
    files_at(run).write(SPACE, dump_space(space).encode())


def append(run: Location, rows: Sequence[R]) -> None:
    """Write ``rows`` (all of one record class) as one new file of their table; nothing when empty."""
    if not rows:
        return
    record, content = type(rows[0]), pa.BufferOutputStream()
    columns = {name: [getattr(row, name) for row in rows] for name in schema(record).names}
    pq.write_table(pa.table(columns, schema=schema(record)), content)
    files, folder = files_at(run), TABLES[record]
    key = (files, folder)
    if key not in _last_names:
        _last_names[key] = (up_to_date(files.names(folder)) or [""])[-1]
    _last_names[key] = new_name(_last_names[key])
    files.write(f"{folder}/{_last_names[key]}", content.getvalue().to_pybytes())


def table_files(run: Location, record: type) -> list[str]:
    """The files of a table, in the order written."""
    folder = TABLES[record]
    return [f"{folder}/{name}" for name in up_to_date(files_at(run).names(folder))]


def read_table(run: Location, record: type) -> pa.Table:
    """All rows of a table as Arrow, in the order written, superseded ones included; empty if none."""
    return _together(files_at(run), record)


def _together(files: Files, record: type, where: list[tuple[str, str, str]] | None = None) -> pa.Table:
    return while_merged(files, record, lambda parts: _of_parts(files, parts, record, where))


def _of_parts(
    files: Files, parts: Sequence[str], record: type, where: list[tuple[str, str, str]] | None = None
) -> pa.Table:
    if not parts:
        return schema(record).empty_table()
    with ThreadPoolExecutor(min(AT_ONCE, len(parts))) as pool:
        return pa.concat_tables(pool.map(lambda part: aligned_rows(files, part, record, where), parts))


def while_merged(run: Location, record: type, how: Callable[[Sequence[str]], T]) -> T:
    """What ``how`` makes of the files of a table; once more with those there are then, where one has gone meanwhile."""
    for look in range(LOOKS):
        parts = table_files(run, record)
        try:
            return how(parts)
        except RecordError as error:
            if look + 1 == LOOKS or not isinstance(error.__cause__, FileNotFoundError):
                raise
    raise AssertionError


def aligned_rows(files: Files, part: str, record: type, where: list[tuple[str, str, str]] | None = None) -> pa.Table:
    """The rows of a file of a table, in the columns of today."""
    return read_file(files, part, lambda source: _aligned(_rows(source, where), schema(record)))


def _rows(source: pa.NativeFile, where: list[tuple[str, str, str]] | None) -> pa.Table:
    return pq.read_table(source, filters=where, partitioning=None) if where else pq.ParquetFile(source).read()


def read_file(files: Files, name: str, how: Callable[[pa.NativeFile], T]) -> T:
    """What ``how`` makes of a file. Raises `RecordError` with the file's name where it is damaged or missing."""
    try:
        with files.open(name) as source:
            return how(source)
    except (OSError, ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise RecordError(f"{files}/{name}: unreadable: {why}. Restore the file or remove it.") from error


def _aligned(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The wanted columns; one that did not exist yet when the file was written is all null."""
    for field in wanted:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(wanted.names).cast(wanted)


def read(run: Location, record: type[R], **equal: str) -> list[R]:
    """The facts of a table: one record per key, the one written last, in order of first writing.

    ``equal``: columns and their values in the wanted rows; files without such rows are hardly read.
    """
    where = [(name, "=", value) for name, value in equal.items()] or None
    files = files_at(run)
    return latest(_records(files, _together(files, record, where), record))


def read_after(run: Location, record: type[R], seen: Sequence[str]) -> tuple[list[str], list[R]]:
    """The files of a table, and the rows of those that came after ``seen``, superseded ones included.

    Of all of them where those that were seen are there no more, since they were merged.
    """
    files = files_at(run)

    def read(parts: Sequence[str]) -> tuple[list[str], list[R]]:
        new = parts[len(seen) :] if list(parts[: len(seen)]) == list(seen) else parts
        return list(parts), _records(files, _of_parts(files, new, record), record)

    return while_merged(files, record, read)


def _records(files: Files, table: pa.Table, record: type[R]) -> list[R]:
    """The rows as records. Raises `RecordError` for a word that this release does not know."""
    made = {name: make for name, hint in typing.get_type_hints(record).items() if (make := _made_by(hint))}
    for name, words in ((name, make) for name, make in made.items() if _is_enum(make)):
        if unknown := set(table[name].unique().to_pylist()) - {str(word) for word in words}:
            raise RecordError(
                f"{files}/{TABLES[record]}: column {name}: got '{min(unknown)}'; expected one of {', '.join(words)}. A "
                "newer raggrid wrote this: update raggrid."
            )
    return [
        record(**{**row, **{n: make(row[n]) for n, make in made.items() if row[n] is not None or make is _mapping}})
        for row in table.to_pylist()
    ]


def _made_by(hint: Any) -> Any:
    """What makes a value of a column from Arrow's plain one; None where that is the value."""
    options = [hint, *typing.get_args(hint)]
    if typing.get_origin(hint) is Mapping:
        return _mapping
    return tuple if any(typing.get_origin(option) is tuple for option in options) else hint if _is_enum(hint) else None


def _mapping(pairs: list[tuple[str, float | None]] | None) -> dict[str, float | None]:
    """A map column's value; empty in rows that were written before there was the column."""
    return dict(pairs or ())


def read_space(run: Location) -> SearchSpace:
    """The space a run directory was made for.

    Raises:
        RecordError: ``run`` is not a run directory.
    """
    files = files_at(run)
    if not files.exists(SPACE):
        raise RecordError(f"{files}: not a run directory (it has no {SPACE}). {_instead(files)}")
    return recorded_space(read_bytes(files, SPACE).decode(errors="replace"), f"{files}/{SPACE}")


def _instead(files: Files) -> str:
    """What to give instead of a folder that is not a run directory."""
    inside = sorted(name for name in files.names("") if files.exists(f"{name}/{SPACE}"))
    if not inside:
        return "Give the --run of a raggrid search."
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    names = ", ".join(inside[:SHOWN])
    return f"It holds run directories: {names}{more}. Give one of these, such as {files}/{inside[0]}."


def read_environment(run: Location) -> dict[str, Any]:
    """Versions, hardware, data facts noted when the study started; empty if none. Raises `RecordError` if damaged."""
    files = files_at(run)
    return read_file(files, ENVIRONMENT, _object) if files.exists(ENVIRONMENT) else {}


def read_measured_index(run: Location) -> dict[str, Any] | None:
    """How the study's index compares with exact search; None where that is what it does. Raises `RecordError`."""
    files = files_at(run)
    return read_file(files, MEASURED, _object) if files.exists(MEASURED) else None


def _object(source: pa.NativeFile) -> dict[str, Any]:
    content = json.loads(bytes(source.read()).decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"got a JSON {type(content).__name__}; expected an object")
    return content
