"""Which files an address names; one of a kind that raggrid does not know is refused before anything is made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import raggrid.store
from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.errors import RecordError
from raggrid.published.importing import import_results
from raggrid.store.files import files_at
from raggrid.store.local import LocalFiles
from raggrid.store.run import load_run
from tests.records import made_space

VERBS: Mapping[str, Callable[[str | Path], object]] = {
    "search": lambda place: search(made_space(), place),
    "import one table": lambda place: import_results("paper", place, dataset="popqa"),
    "import two tables": lambda place: import_results("paper", place),
    "recommend": lambda place: recommend([place]),
    "load_run": load_run,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("place", ["s3://bucket/x", Path("s3://bucket/x"), "tables://x", "memory://x"])
def test_an_address_of_an_unknown_kind_is_refused_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[str | Path], object], place: str | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match=r"^\w+://.*: got an address of kind '\w+'; expected a folder\. Give"):
        verb(place)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another file system: one more file in the folder of the store."""
    monkeypatch.setattr(raggrid.store, "__path__", [*raggrid.store.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "raggrid.store.bucket", raising=False)
    return tmp_path / "bucket.py"


def test_a_file_named_like_the_address_serves_it(bucket: Path) -> None:
    bucket.write_text("class Opened(str): ...\ndef open_files(address): return Opened(address)")
    assert repr(files_at("bucket://a/b")) == repr(files_at(Path("bucket://a/b"))) == "'bucket://a/b'"
    assert type(files_at("bucket://a/b")).__name__ == "Opened"
    assert repr(files_at("bucket:///a/b")) == "'bucket:///a/b'"  # an address says itself where its root is


def test_a_fault_in_that_file_is_not_taken_for_an_unknown_address(bucket: Path) -> None:
    bucket.write_text("def open_files(address): return address.missing")
    with pytest.raises(AttributeError, match="missing"):
        files_at("bucket://a/b")


def test_a_path_is_shown_as_given_and_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = files_at("runs/x")
    assert str(files) == "runs/x"
    assert files_at(files.address) == files_at(tmp_path / "runs" / "x")
    assert files_at("runs/x:y") == LocalFiles(Path("runs/x:y"))
    assert files_at(files) is files
