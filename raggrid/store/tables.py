"""Run directories: every fact written whole or not at all, and read back.

A table is a folder of small Parquet files. A file is written beside its place, forced to disk and renamed, so
a reader sees all of it or nothing. A row that is written again (a resumed trial) supersedes the earlier one.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.errors import RecordError
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, PredictionRecord, QuestionRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space, load_recorded

R = TypeVar("R", TrialRecord, CurveRecord, PipelineRecord, PredictionRecord, LedgerRecord, QuestionRecord)
T = TypeVar("T")

TABLES: Mapping[type, str] = {
    TrialRecord: "trials",
    CurveRecord: "curves",
    PipelineRecord: "pipelines",
    PredictionRecord: "predictions",
    LedgerRecord: "ledger",
    QuestionRecord: "questions",
}
# What makes a row the same fact as an earlier one; a ledger slice is never written twice.
KEYS: Mapping[type, tuple[str, ...]] = {
    TrialRecord: ("trial_id",),
    CurveRecord: ("trial_id", "step"),
    PipelineRecord: ("pipeline_id", "split"),
    PredictionRecord: ("pipeline_id", "split", "question_id"),
    LedgerRecord: (),
    QuestionRecord: ("split", "question_id"),
}
# What a system says when there is no room left.
FULL = (errno.ENOSPC, errno.EDQUOT)
VECTORS, NEGATIVES = "passages.npy", "negatives.json"  # in `index_folder`
SHOWN = 8  # run directories that an error names
_counter = itertools.count()


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class, declared so that an all-None column keeps its type."""
    hints = typing.get_type_hints(record)
    return pa.schema([_field(field.name, hints[field.name]) for field in fields(record)])


def _field(name: str, hint: Any) -> pa.Field:
    options = [option for option in typing.get_args(hint) if option is not NoneType]
    nullable = NoneType in typing.get_args(hint)
    base = str if _is_enum(hint) else options[0] if nullable else hint
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.field(name, plain[base] if base in plain else pa.list_(pa.string()), nullable=nullable)


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def check_free(run: Path) -> None:
    """Raises `RecordError` when a folder holds anything: a run directory starts new or empty."""
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise RecordError(f"{run}: already holds files; expected a new or empty folder. Choose another --run.")


def create_run(run: Path, space: SearchSpace, environment: Mapping[str, object]) -> None:
    """Make a run directory with its identity and its environment.

    Raises:
        RecordError: the folder exists and is not empty, or cannot be written.
    """
    try:
        check_free(run)
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / "environment.json", json.dumps(environment, indent=2) + "\n")
        write_text(run / "space.yaml", dump_space(space))
    except OSError as error:
        raise RecordError(f"{run}: cannot be written: {error.strerror}. Choose another --run.") from error


def append(run: Path, rows: Sequence[R]) -> None:
    """Write ``rows`` (all of one record class) as one new file of their table; nothing when empty."""
    if not rows:
        return
    record = type(rows[0])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema(record))
    folder = run / TABLES[record]
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}-{next(_counter)}"
    part = folder / f".{name}.tmp"
    try:
        with part.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / f"{name}.parquet")
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_table(run: Path, record: type) -> pa.Table:
    """All rows of a table as Arrow, in the order written, superseded ones included; empty if none."""
    return _together(table_files(run, record), record)


def _together(files: Sequence[Path], record: type, where: list[tuple[str, str, str]] | None = None) -> pa.Table:
    wanted = schema(record)
    tables = [read_file(file, lambda file: _aligned(_rows(file, where), wanted)) for file in files]
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def _rows(file: Path, where: list[tuple[str, str, str]] | None) -> pa.Table:
    return pq.read_table(file, filters=where, partitioning=None) if where else pq.ParquetFile(file).read()


def read_file(file: Path, how: Callable[[Path], T]) -> T:
    """What ``how`` makes of a file. Raises `RecordError` with the file's name where it is damaged."""
    try:
        return how(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise RecordError(f"{file}: unreadable: {why}. Restore the file or remove it.") from error


def _aligned(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The wanted columns; one that did not exist yet when the file was written is all null."""
    for field in wanted:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(wanted.names).cast(wanted)


def read(run: Path, record: type[R], **equal: str) -> list[R]:
    """The facts of a table: one record per key, the one written last, in order of first writing.

    ``equal``: columns and their values in the wanted rows; files without such rows are hardly read.
    """
    where = [(name, "=", value) for name, value in equal.items()] or None
    return latest(_records(_together(table_files(run, record), record, where), record))


def read_unseen(run: Path, record: type[R], seen: set[str]) -> list[R]:
    """The rows of the files of a table that are not in ``seen``, which they are put into: for a table that grows."""
    folder = run / TABLES[record]
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - tens of thousands
    files = [folder / name for name in sorted(set(names) - seen) if name.endswith(".parquet")]
    rows = _records(_together(files, record), record)
    seen.update(file.name for file in files)
    return rows


def _records(table: pa.Table, record: type[R]) -> list[R]:
    hints = {name: typing.get_origin(hint) or hint for name, hint in typing.get_type_hints(record).items()}
    made = {name: make for name, make in hints.items() if make is tuple or _is_enum(make)}
    return [record(**{**row, **{name: make(row[name]) for name, make in made.items()}}) for row in table.to_pylist()]


def latest(rows: list[R]) -> list[R]:
    """One record per key, the last of ``rows``, in order of each key's first; all of them if there is no key."""
    keys = KEYS[type(rows[0])] if rows else ()
    if not keys:
        return rows
    return list({tuple(getattr(row, key) for key in keys): row for row in rows}.values())


def read_space(run: Path) -> SearchSpace:
    """The space a run directory was made for.

    Raises:
        RecordError: ``run`` is not a run directory.
    """
    if not (run / "space.yaml").is_file():
        raise RecordError(f"{run}: not a run directory (it has no space.yaml). {_instead(run)}")
    return load_recorded(run / "space.yaml")


def _instead(folder: Path) -> str:
    """What to give instead of a folder that is not a run directory."""
    inside = sorted(path.parent.name for path in folder.glob("*/space.yaml"))
    if not inside:
        return "Give the --run of a raggrid search."
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    names = ", ".join(inside[:SHOWN])
    return f"It holds run directories: {names}{more}. Give one of these, such as {folder / inside[0]}."


def read_environment(run: Path) -> dict[str, Any]:
    """Versions, hardware, data facts noted when the study started; empty if none. Raises `RecordError` if damaged."""
    path = run / "environment.json"
    return read_file(path, _object) if path.is_file() else {}


def _object(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"got a JSON {type(content).__name__}; expected an object")
    return content


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.tmp")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error means that the disk is full.

    Libraries that write by themselves, such as safetensors, raise errors of their own with the system's message.
    """
    known = isinstance(error, OSError) and error.errno in FULL
    return known or any(os.strerror(code) in str(error) for code in FULL)


def checkpoint_folder(run: Path, trial_id: str) -> Path:
    """Where a trial keeps its ``embedder/`` and ``generator/``."""
    return run / "checkpoints" / trial_id


def state_folder(run: Path, trial_id: str) -> Path:
    """Where a trial that has not ended keeps what its next start needs."""
    return checkpoint_folder(run, trial_id) / "state"


def index_folder(run: Path) -> Path:
    """Where the passage vectors of the base embedder lie."""
    return run / "index"


def table_files(run: Path, record: type) -> list[Path]:
    """The files of a table, in the order written."""
    return sorted((run / TABLES[record]).glob("*.parquet"))
