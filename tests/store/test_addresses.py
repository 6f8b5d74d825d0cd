"""Which files an address names; one of a kind that raggrid does not know is refused before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.errors import RecordError
from raggrid.published.importing import import_results
from raggrid.store.files import files_at
from raggrid.store.local import LocalFiles
from raggrid.store.remote import RemoteFiles
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
@pytest.mark.parametrize("place", ["bucket://x/y", Path("bucket://x/y"), "tables://x"])
def test_an_address_of_an_unknown_kind_is_refused_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[str | Path], object], place: str | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RecordError, match=r"^\w+://.*: got an address of kind '\w+'; expected a folder, or an address .*\. Give"
    ):
        verb(place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["s3://bucket/a/b", Path("s3://bucket/a/b"), "s3://bucket/a/b/", "gs://b/x", "az://c/x"]
)
def test_an_address_that_pyarrow_or_fsspec_knows_is_a_place_there(address: str | Path) -> None:
    files = files_at(address)
    assert isinstance(files, RemoteFiles)
    assert str(files) == files.address == str(address).rstrip("/").replace("s3:/b", "s3://b")
    assert files_at(files.address) == files


def test_a_path_is_shown_as_given_and_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = files_at("runs/x")
    assert str(files) == "runs/x"
    assert files_at(files.address) == files_at(tmp_path / "runs" / "x")
    assert files_at("runs/x:y") == LocalFiles(Path("runs/x:y"))
    assert files_at(files) is files
