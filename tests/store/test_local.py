"""Run directories on a local disk: the contracts, and what a crash leaves."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from raggrid.store.files import Files, files_at, read_bytes
from raggrid.store.local import LocalFiles
from raggrid.store.tables import check_free
from tests.store.files_contract import FilesContract
from tests.store.run_directory_contract import RunDirectoryContract


class TestLocalFiles(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return LocalFiles(tmp_path / "new")


class TestRunDirectoryOnDisk(RunDirectoryContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return LocalFiles(tmp_path / "new")


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Mock(wraps=os)
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, getattr(calls, name))
    LocalFiles(tmp_path).write("a", b"x")
    assert [name for name, *_ in calls.method_calls] == ["fsync", "replace"]


def test_what_a_killed_process_left_is_neither_seen_nor_in_the_way(tmp_path: Path) -> None:
    files = files_at(tmp_path)
    for name in (".config.tmp", ".models.tmp/deep/half"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    check_free(files)
    with files.writing("models") as folder:
        folder.mkdir()
        (folder / "model").write_bytes(b"whole")
    files.write("config", b"whole")
    assert sorted(files.names("")) == ["config", "models"]
    assert files.names("models") == ["model"]
    assert read_bytes(files, "config") == b"whole"
    assert list(tmp_path.glob(".*")) == []


def test_equal_paths_are_the_same_place(tmp_path: Path) -> None:
    assert {files_at(tmp_path), files_at(str(tmp_path)), LocalFiles(tmp_path)} == {LocalFiles(tmp_path)}
