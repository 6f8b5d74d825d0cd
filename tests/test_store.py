"""Run directories that are none, or whose files are damaged: which file, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.errors import RecordError
from raggrid.store import create_run, read_space
from tests.records import made_space


def said(caught: pytest.ExceptionInfo[RecordError], folder: Path) -> str:
    return str(caught.value).replace(f"{folder}", "HERE")


def test_a_folder_of_run_directories_lists_them(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(RecordError) as caught:
        read_space(tmp_path)
    assert said(caught, tmp_path) == (
        "HERE: no run directory (it has no space.yaml). Give the --run of a raggrid search."
    )
    for name in ("popqa", "hotpotqa"):
        create_run(tmp_path / name, made_space(), {})
    with pytest.raises(RecordError) as caught:
        read_space(tmp_path)
    assert said(caught, tmp_path) == (
        "HERE: no run directory (it has no space.yaml). It holds run directories: hotpotqa, popqa. "
        "Give one of these, such as HERE/hotpotqa."
    )
    for number in range(10):
        create_run(tmp_path / f"n{number}", made_space(), {})
    with pytest.raises(RecordError, match=r"hotpotqa, n0, n1, n2, n3, n4, n5, n6 and 4 more\. Give one"):
        read_space(tmp_path)
