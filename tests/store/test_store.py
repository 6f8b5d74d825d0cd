"""Run directories that are none, or whose files are damaged: which file, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raggrid.errors import RecordError
from raggrid.records import Category, LedgerRecord, PipelineRecord, PredictionRecord, Status, TrialRecord
from raggrid.store.columns import read_columns
from raggrid.store.tables import append, create_run, read, read_environment, read_space, table_files
from tests.records import charge, made_space, pipeline, predictions, trial


def said(caught: pytest.ExceptionInfo[RecordError], folder: Path) -> str:
    return str(caught.value).replace(f"{folder}", "HERE")


def test_a_folder_of_run_directories_lists_them(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(RecordError) as caught:
        read_space(tmp_path)
    assert said(caught, tmp_path) == (
        "HERE: not a run directory (it has no space.yaml). Give the --run of a raggrid search."
    )
    for name in ("popqa", "hotpotqa"):
        create_run(tmp_path / name, made_space(), {})
    with pytest.raises(RecordError) as caught:
        read_space(tmp_path)
    assert said(caught, tmp_path) == (
        "HERE: not a run directory (it has no space.yaml). It holds run directories: hotpotqa, popqa. "
        "Give one of these, such as HERE/hotpotqa."
    )
    for number in range(10):
        create_run(tmp_path / f"n{number}", made_space(), {})
    with pytest.raises(RecordError, match=r"hotpotqa, n0, n1, n2, n3, n4, n5, n6 and 4 more\. Give one"):
        read_space(tmp_path)


def test_a_status_is_a_plain_string_on_disk_and_a_status_again_when_read(tmp_path: Path) -> None:
    append(tmp_path, [trial("t1", status=Status.OVER_BUDGET)])
    append(tmp_path, [charge("idle", 3.0)])
    for record, name, value in ((TrialRecord, "status", "over_budget"), (LedgerRecord, "category", "idle")):
        table = pq.read_table(tmp_path / table_files(tmp_path, record)[0])
        assert table.schema.field(name).type == pa.string()
        assert table[name].to_pylist() == [value]
    assert read(tmp_path, TrialRecord)[0].status is Status.OVER_BUDGET
    assert read(tmp_path, LedgerRecord)[0].category is Category.IDLE
    assert len(read(tmp_path, TrialRecord, status=Status.OVER_BUDGET)) == 1


def test_rows_written_before_a_metric_was_added_lack_it(tmp_path: Path) -> None:
    row = pipeline("generator", "rag_token", "test", [1.0], 1.0)
    append(tmp_path, [row])
    append(tmp_path, predictions(row, [1.0]))
    for record in (PipelineRecord, PredictionRecord):
        file = tmp_path / table_files(tmp_path, record)[0]
        pq.write_table(pq.read_table(file).drop_columns(["rouge_l"]), file)
    assert [line.rouge_l for line in read(tmp_path, PipelineRecord)] == [None]
    assert [line.rouge_l for line in read(tmp_path, PredictionRecord)] == [None]


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short", "whole"])
def test_the_damaged_file_is_named(tmp_path: Path, content: object) -> None:
    append(tmp_path, [trial("t1")])
    append(tmp_path, [trial("t2")])
    damaged = tmp_path / table_files(tmp_path, TrialRecord)[1]
    damaged.write_bytes(content if isinstance(content, bytes) else damaged.read_bytes()[:-20])
    with pytest.raises(RecordError) as caught:
        read(tmp_path, TrialRecord)
    assert re.fullmatch(
        rf"HERE/trials/{damaged.name}: unreadable: .*[^.]\. Restore the file or remove it\.", said(caught, tmp_path)
    )


def test_a_file_of_other_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    pq.write_table(pa.table({"trial_id": ["t1"], "seed": ["none"]}), tmp_path / "trials" / "a.parquet")
    with pytest.raises(RecordError, match=r"trials/a\.parquet: unreadable: .* Restore the file or remove it\."):
        read(tmp_path, TrialRecord)


def test_the_damaged_file_of_a_large_table_is_named(tmp_path: Path) -> None:
    row = pipeline("generator", "rag_token", "test", [1.0], 1.0)
    for _ in range(2):
        append(tmp_path, predictions(row, [1.0]))
    damaged = tmp_path / table_files(tmp_path, PredictionRecord)[1]
    damaged.write_bytes(b"x")
    with pytest.raises(RecordError, match=rf"predictions/{damaged.name}: unreadable: .*[^.]\. Restore"):
        read_columns(tmp_path, table_files(tmp_path, PredictionRecord), PredictionRecord, ["f1"], split="test")


@pytest.mark.parametrize("content", [b'{"python": ', b"[1, 2]", b"\xff\xfe", b""])
def test_a_broken_environment_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_environment(tmp_path)
    assert re.fullmatch(
        r"HERE/environment\.json: unreadable: .*[^.]\. Restore the file or remove it\.", said(caught, tmp_path)
    )


def test_a_folder_without_environment_has_none(tmp_path: Path) -> None:
    assert read_environment(tmp_path) == {}
