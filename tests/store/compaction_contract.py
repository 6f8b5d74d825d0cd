"""What merging a table's files keeps to, on every file system."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from raggrid.records import (
    CurveRecord,
    LedgerRecord,
    PredictionRecord,
    TrialRecord,
)
from raggrid.store import compaction, run_directory, table_names, tables
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import (
    TABLES,
    read_table,
    table_files,
)
from tests.records import ANSWERS, charge, curve, trial


class CompactionContract:
    """A ``storage`` whose files are merged, whoever reads, writes or is killed meanwhile."""

    def test_who_watches_counts_no_row_twice_when_files_are_merged(self, storage: RunDirectory) -> None:
        writer = RunDirectory(storage.files, delay_seconds=60.0)
        for seconds in (1.0, 2.0):
            writer.append([charge("train", seconds, "a")])
            writer.flush()
            assert len(storage.read(LedgerRecord)) == len(storage.of_trials(LedgerRecord, ["a"])["a"]) == seconds
        writer.compact()
        writer.append([charge("train", 3.0, "a")])
        writer.flush()
        assert [row.device_seconds for row in storage.read(LedgerRecord)] == [1.0, 2.0, 3.0]
        assert [row.device_seconds for row in storage.of_trials(LedgerRecord, ["a"])["a"]] == [1.0, 2.0, 3.0]

    def test_many_files_become_few_and_say_the_same(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (compaction, run_directory):
            monkeypatch.setattr(module, "SMALL_FILES", 8)
        whole = RunDirectory(storage.files, delay_seconds=60.0)
        for step in range(2 * 8 + 3):
            whole.append([curve(name, step, 2.0, 3.0) for name in "ab"])
            whole.append([charge("train", float(step), "a")])
            whole.append([trial("a", steps=step)])
            whole.append(ANSWERS)
            whole.flush()
        assert len(table_files(storage.files, CurveRecord)) == 2 + 3
        known = whole.read(CurveRecord), whole.read(LedgerRecord), whole.read(TrialRecord)
        whole.compact()
        for record in (CurveRecord, LedgerRecord, TrialRecord, PredictionRecord):
            (name,) = table_files(storage.files, record)
            assert [name.rpartition("/")[2]] == storage.files.names(TABLES[record])
        again = RunDirectory(storage.files)
        assert (again.read(CurveRecord), again.read(LedgerRecord), again.read(TrialRecord)) == known
        assert again.read(PredictionRecord) == list(ANSWERS)
        again.append([trial("a", steps=999)])
        assert [row.steps for row in RunDirectory(storage.files).read(TrialRecord)] == [999]

    def test_tables_are_merged_side_by_side(self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        """On an object store each request takes its time, and every table has some."""
        for _ in range(2):
            storage.append([charge("train", 1.0, "a")])
            storage.append([trial("a")])
        files, both = type(storage.files), threading.Barrier(2, timeout=10)
        write = files.write

        def write_together(own: Any, name: str, content: bytes) -> None:
            both.wait()
            write(own, name, content)

        monkeypatch.setattr(files, "write", write_together)
        storage.compact()
        assert len(storage.files.names("ledger")) == len(storage.files.names("trials")) == 1

    def test_a_kill_while_files_are_merged_counts_no_row_twice(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seconds in (1.0, 2.0, 3.0):
            storage.append([charge("train", seconds, "a")])
        with monkeypatch.context() as patched:
            patched.setattr(type(storage.files), "delete", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                storage.compact()
        assert len(storage.files.names("ledger")) == 4
        assert [row.device_seconds for row in RunDirectory(storage.files).read(LedgerRecord)] == [1.0, 2.0, 3.0]
        storage.append([charge("train", 4.0, "a")])
        assert [row.device_seconds for row in RunDirectory(storage.files).read(LedgerRecord)] == [1.0, 2.0, 3.0, 4.0]
        RunDirectory(storage.files).compact()
        assert len(storage.files.names("ledger")) == len(table_files(storage.files, LedgerRecord)) == 2
        assert [row.device_seconds for row in RunDirectory(storage.files).read(LedgerRecord)] == [1.0, 2.0, 3.0, 4.0]

    def test_who_reads_while_files_are_merged_looks_again(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seconds in (1.0, 2.0):
            storage.append([charge("train", seconds, "a")])
        files, merged = type(storage.files), list[bool]()
        opened = files.open

        def open_late(own: Any, name: str) -> pa.NativeFile:
            if not merged:
                merged.append(True)
                RunDirectory(storage.files).compact()
            return opened(own, name)

        monkeypatch.setattr(files, "open", open_late)
        assert read_table(storage.files, LedgerRecord)["device_seconds"].to_pylist() == [1.0, 2.0]

    def test_later_files_sort_behind_earlier_ones_though_the_clock_was_set_back(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.append([trial("a", steps=1)])
        storage.append([trial("b", steps=1)])
        storage.compact()
        monkeypatch.setattr(table_names, "time", SimpleNamespace(time_ns=lambda: 5))
        monkeypatch.setattr(tables, "_last_names", {})  # another process
        storage.append([trial("a", steps=2)])
        storage.append([trial("a", steps=3)])
        assert [row.steps for row in RunDirectory(storage.files).read(TrialRecord)] == [3, 1]
