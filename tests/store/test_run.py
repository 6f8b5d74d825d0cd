"""A recorded study as Arrow tables: one row per fact, the columns of the records, read when asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raggrid.errors import RecordError
from raggrid.records import CurveRecord, TrialRecord
from raggrid.store.run import load_run
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import TABLES, append, create_run, read, table_files
from tests.records import charge, curve, made_run, made_space, pipeline, predictions, trial
from tests.store.memory_files import MemoryFiles

LINES = {("generator", "rag_token"): ([1.0, 0.0], 5.0), ("baseline", None): ([0.0, 0.0], 0.0)}


def test_every_table_has_a_row_per_fact_and_the_columns_of_its_records(tmp_path: Path) -> None:
    run = load_run(made_run(tmp_path, LINES))
    assert run.space == made_space(strategies=["generator", "baseline"])
    assert run.environment == {"data": {"num_unlabelled": {"train": 0}}}
    for record, name in TABLES.items():
        table = getattr(run, name)
        assert isinstance(table, pa.Table)
        # The user's own metrics have columns of their names, and this study has none.
        names = [field.name for field in fields(record) if field.name != "custom_scores"]
        assert table.column_names == names
        rows = [tuple(getattr(row, name) for name in names) for row in read(tmp_path, record)]  # type: ignore[type-var]
        listed = [tuple(tuple(v) if isinstance(v, list) else v for v in row.values()) for row in table.to_pylist()]
        assert listed == rows
    assert (len(run.trials), len(run.pipelines), len(run.predictions), len(run.questions)) == (1, 4, 8, 0)


def test_a_fact_written_again_counts_as_written_last_where_it_was_first() -> None:
    files = MemoryFiles()
    create_run(files, made_space(), {})
    row = pipeline("generator", "rag_token", "test", [1.0, 0.0], 5.0)
    for rows in ([trial("a", status="failed"), trial("b")], [trial("a", steps=7)]):
        append(files, rows)
    for answers in (predictions(row, [1.0, 0.0]), predictions(row, [0.5])):
        append(files, answers)
    slices = [charge("train", 1.0, "a")] * 2
    append(files, slices)
    run = load_run(files)
    assert run.trials.select(["trial_id", "status", "steps"]).to_pylist() == [
        {"trial_id": "a", "status": "completed", "steps": 7},
        {"trial_id": "b", "status": "completed", "steps": 24},
    ]
    assert run.predictions["f1"].to_pylist() == [0.5, 0.0]
    assert len(run.ledger) == 2


def test_a_table_is_read_when_it_is_first_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(tmp_path, LINES)
    opened = Mock(side_effect=pq.ParquetFile)
    monkeypatch.setattr(pq, "ParquetFile", opened)
    run = load_run(tmp_path)
    assert opened.call_count == 0
    assert run.pipelines is run.pipelines
    assert opened.call_count == 4
    append(tmp_path, [trial("z")])
    assert len(run.trials) == 2


def test_where_there_is_no_run_is_said_at_once_and_a_damaged_table_later(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run directory"):
        load_run(tmp_path)
    made_run(tmp_path / "r", LINES)
    append(tmp_path / "r", [curve("a", 1, 2.0, 3.0)])
    (tmp_path / "r" / table_files(tmp_path / "r", CurveRecord)[0]).write_bytes(b"x")
    run = load_run(str(tmp_path / "r"))
    assert len(run.predictions) == 8
    with pytest.raises(RecordError, match=r"curves/.*: unreadable"):
        _ = run.curves


def test_a_status_of_a_newer_release_is_refused_by_name(tmp_path: Path) -> None:
    made_run(tmp_path / "r", LINES)
    (file,) = (tmp_path / "r" / "trials").iterdir()
    table = pq.read_table(file)
    column = table.schema.get_field_index("status")
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array(["merged"])), file)
    message = r"r/trials: column status: got 'merged'; expected one of begun, running, .* update raggrid\."
    with pytest.raises(RecordError, match=message):
        read(tmp_path / "r", TrialRecord)
    with pytest.raises(RecordError, match=message):
        RunDirectory(tmp_path / "r").read(TrialRecord)
