"""Run directories on an S3 server and on a file system of fsspec keep to the contracts of those on a disk."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from raggrid.errors import RecordError
from raggrid.store import remote
from raggrid.store.files import Files, files_at, read_bytes
from raggrid.store.remote import RemoteFiles, file_system
from tests.store.files_contract import FilesContract
from tests.store.object_store import CREDENTIALS, Trouble, s3_server
from tests.store.run_directory_contract import RunDirectoryContract

BUCKET = "bucket"
folders = itertools.count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server(BUCKET) as url:
        yield url


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> RemoteFiles:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    file_system.cache_clear()
    found = files_at(f"s3://{BUCKET}/runs/{next(folders)}")
    assert isinstance(found, RemoteFiles)
    return found


class TestS3(FilesContract):
    @pytest.fixture
    def files(self, s3: RemoteFiles) -> Files:  # type: ignore[override]
        return s3


class TestRunDirectoryOnS3(RunDirectoryContract):
    @pytest.fixture
    def files(self, s3: RemoteFiles) -> Files:  # type: ignore[override]
        return s3


@pytest.mark.slow
class TestS3ThatFails(FilesContract):
    """One of twenty requests fails, half of these after they were carried out."""

    @pytest.fixture
    def files(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:  # type: ignore[override]
        monkeypatch.setattr(remote, "READ_WHOLE", 4)  # so that larger files are read in short parts
        with troubled(Trouble(failures=0.05), monkeypatch) as files:
            yield files


class TestFsspec(FilesContract):
    @pytest.fixture
    def files(self) -> Files:  # type: ignore[override]
        return files_at(f"memory://bucket/{next(folders)}")


def test_a_folder_whose_upload_broke_off_is_missing(s3: RemoteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.write("t1/generator/config", b"before")

    def killed(*_: object, **__: object) -> None:
        system, path = file_system(s3.address)
        with system.open_output_stream(f"{path}/t1/generator/half") as stream:
            stream.write(b"x")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fs, "copy_files", killed)
        with pytest.raises(KeyboardInterrupt):
            write_folder(s3, "t1/generator")
    assert (s3.exists("t1/generator"), s3.names("t1")) == (False, [])
    with pytest.raises(FileNotFoundError), s3.reading("t1/generator"):
        pass
    write_folder(s3, "t1/generator")
    assert (s3.exists("t1/generator"), s3.names("t1")) == (True, ["generator"])
    assert s3.names("t1/generator") == ["model"]


@contextmanager
def troubled(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """A folder on an S3 server that has it."""
    with s3_server(BUCKET, trouble) as endpoint:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        file_system.cache_clear()
        yield files_at(f"s3://{BUCKET}/runs/{next(folders)}")
    file_system.cache_clear()


@pytest.mark.slow
def test_a_request_that_stalls_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REQUEST_SECONDS", 1.0)
    trouble, began = Trouble(stalls=0.4, stall_seconds=60.0), time.monotonic()
    with troubled(trouble, monkeypatch) as files:
        for number in range(3):
            files.write("a", str(number).encode())
            assert read_bytes(files, "a") == str(number).encode()
    assert trouble.met["stalled"] > 0
    assert time.monotonic() - began < 60.0


@pytest.mark.slow
def test_a_store_that_stalls_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    began = time.monotonic()
    with troubled(Trouble(stalls=1.0, stall_seconds=60.0), monkeypatch) as files, pytest.raises(OSError, match="a"):
        files.write("a", b"x")
    assert time.monotonic() - began < 60.0


def test_the_endpoint_may_stand_in_the_address(endpoint: str, s3: RemoteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.write("a", b"x")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    named = files_at(f"{s3.address}?endpoint_override={endpoint}&region=us-east-1")
    assert read_bytes(named, "a") == b"x"
    assert file_system(named.address) is file_system(named.address)


def test_an_address_has_a_bucket_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match=r"^s3:///runs: got no bucket; expected s3://BUCKET/FOLDER"):
        files_at("s3:///runs")
    for address in ("s3://key:hidden@bucket/x", "s3://bucket/x?access_key=a&secret_key=hidden"):
        with pytest.raises(RecordError, match="got an address with a secret") as caught:
            files_at(address)
        assert "hidden" not in str(caught.value)


def test_a_missing_library_is_named() -> None:
    with pytest.raises(RecordError, match=r"^abfs://c@a/x: cannot be reached|^az://bucket/x: cannot be reached"):
        files_at("az://bucket/x").names("")


def write_folder(files: Files, name: str) -> None:
    with files.writing(name) as folder:
        Path(folder).mkdir()
        (folder / "model").write_bytes(b"whole")
