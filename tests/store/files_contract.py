"""What every file system of a run directory keeps to.

A test of an implementation inherits this and says, as a fixture, how to make an empty one.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raggrid.analysis.recommend import recommend
from raggrid.store.files import Files, files_at, read_bytes
from tests.records import made_run, record_run


class FilesContract:
    """A `Files` that was never used."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        raise NotImplementedError

    def test_what_was_written_is_read_back_from_any_position(self, files: Files) -> None:
        files.write("a/b.txt", b"first, and longer")
        files.write("a/b.txt", b"second")
        assert read_bytes(files, "a/b.txt") == b"second"
        with files.open("a/b.txt") as source:
            source.seek(3)
            assert source.read(2) == b"on"
            assert source.size() == 6

    def test_columns_are_read_from_an_open_file(self, files: Files) -> None:
        table, content = pa.table({"x": [1, 2, 3], "y": ["a", "b", "c"]}), pa.BufferOutputStream()
        pq.write_table(table, content)
        files.write("t.parquet", content.getvalue().to_pybytes())
        with files.open("t.parquet") as source:
            assert pq.ParquetFile(source).read(["y"]).to_pydict() == {"y": ["a", "b", "c"]}

    def test_names_are_those_directly_in_a_folder(self, files: Files) -> None:
        assert files.names("") == files.names("a") == []
        for name in ("a/b.txt", "a/c/d.txt", "a/c/e.txt", ".hidden", "ab/f.txt"):
            files.write(name, b"x")
        assert sorted(files.names("")) == [".hidden", "a", "ab"]
        assert sorted(files.names("a")) == ["b.txt", "c"]
        assert sorted(files.names("a/c")) == ["d.txt", "e.txt"]
        assert files.names("a/none") == []
        with pytest.raises(NotADirectoryError):
            files.names("a/b.txt")

    def test_files_and_folders_have_a_size_and_go(self, files: Files) -> None:
        for name, size in (("a/b", 5), ("a/c/d", 7), ("ab", 11)):
            files.write(name, b"x" * size)
        assert [files.size(name) for name in ("a", "a/c", "a/b", "ab", "b")] == [12, 7, 5, 11, 0]
        assert [files.exists(name) for name in ("a", "a/c", "a/b", "b", "a/b/c")] == [True, True, True, False, False]
        files.delete("a/c")
        assert (files.names("a"), files.exists("a/c")) == (["b"], False)
        files.delete("a")
        assert (files.exists("a"), files.exists("ab")) == (False, True)
        for name in ("ab", "ab", "never/was"):
            files.delete(name)
        assert files.names("") == []

    @pytest.mark.parametrize("name", ["b", "a/b", "a/c/d"])
    def test_what_is_missing_is_not_found(self, files: Files, name: str) -> None:
        files.write("a/c", b"x")
        with pytest.raises(FileNotFoundError):
            read_bytes(files, "b")
        with pytest.raises(FileNotFoundError), files.reading(name):
            pass

    def test_a_file_and_a_folder_are_read_as_paths(self, files: Files) -> None:
        files.write("a/b.npy", b"one")
        files.write("a/c/d", b"two")
        with files.reading("a/b.npy") as path:
            assert (path.name, path.read_bytes()) == ("b.npy", b"one")
        with files.reading("a") as folder:
            found = {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
        assert found == {"b.npy": b"one", "c/d": b"two"}

    def test_what_a_path_is_written_to_replaces_what_was_there(self, files: Files) -> None:
        for content in (b"one", b"two"):
            with files.writing("a/b") as path:
                path.write_bytes(content)
            assert read_bytes(files, "a/b") == content
        for name in ("x", "deep/y", "z"):
            with files.writing("a/models") as folder:
                (folder / name).parent.mkdir(parents=True)
                (folder / name).write_bytes(name.encode())
            with files.reading("a/models") as folder:
                assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [name]
            assert read_bytes(files, f"a/models/{name}") == name.encode()
        assert sorted(files.names("a")) == ["b", "models"]

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
    def test_a_write_that_fails_leaves_what_was_there(self, files: Files, error: BaseException) -> None:
        files.write("a/b", b"before")
        files.write("a/models/config", b"before")
        for name, inside in (("a/b", ""), ("a/models", "config"), ("a/new", ""), ("a/more", "config")):
            with pytest.raises(type(error)):
                half_written(files, name, inside, error)
        assert sorted(files.names("a")) == ["b", "models"]
        assert read_bytes(files, "a/b") == read_bytes(files, "a/models/config") == b"before"
        assert files.size("a") == 2 * len(b"before")

    def test_a_place_is_itself_and_no_other(self, files: Files) -> None:
        assert files_at(files) is files
        assert hash(files) == hash(files)
        assert files.address
        assert str(files)

    def test_a_study_on_it_is_recommended_from_as_from_a_folder(self, files: Files, tmp_path: Path) -> None:
        lines = {("generator", "rag_token"): ([1.0] * 30 + [0.0] * 20, 5.0), ("baseline", None): ([0.0] * 50, 0.0)}
        record_run(files, lines)
        found = recommend([files]).to_json()
        expected = recommend([made_run(tmp_path / "plain", lines)]).to_json()
        assert found.pop("runs") == [str(files)]
        assert expected.pop("runs")
        assert found == expected


def half_written(files: Files, name: str, inside: str, error: BaseException) -> None:
    """A write of a file, or of a folder with one ``inside`` it, that fails in the middle."""
    with files.writing(name) as path:
        (path / inside).parent.mkdir(parents=True, exist_ok=True)
        (path / inside).write_bytes(b"half")
        assert sorted(files.names("a")) == ["b", "models"]  # not seen before it is whole
        raise error
