"""Run directories on an object store, or on any other file system that pyarrow or fsspec knows by an address.

Object stores have no rename: a file appears whole when its upload ends, and a folder counts as missing while a mark
beside it says that its upload has not ended.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import pyarrow as pa
from fsspec import available_protocols
from pyarrow import fs

from raggrid.errors import RecordError

T = TypeVar("T")
ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
HERE = fs.LocalFileSystem()
# Of S3, per request: 2% may fail, and one that moves no byte for so long is sent again. A store that answers nothing is
# given up after about two minutes. A lease outlives a request that stalls: it may miss renewals for 20 s.
ATTEMPTS, REQUEST_SECONDS, CONNECT_SECONDS = 8, 10.0, 5.0
NO_RETRY = "Failed to flush response stream"
"""S3's text that a request failed is longer than what was asked for, so that the AWS SDK does not send it again."""
READ_WHOLE = 1 << 20  # bytes; larger files are read in parts as they are asked for
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class RemoteFiles:
    """The `Files` of an address such as ``s3://bucket/runs/popqa``."""

    address: str

    def __str__(self) -> str:
        return self.address

    def open(self, name: str) -> pa.NativeFile:
        return _read_again(lambda: self._open(name))

    def _open(self, name: str) -> pa.NativeFile:
        system, path = self._at(name)
        source = system.open_input_file(path)
        return pa.BufferReader(source.read()) if source.size() <= READ_WHOLE else source

    def write(self, name: str, content: bytes) -> None:
        system, path = self._at(name)
        _make_parent(system, path)
        with system.open_output_stream(path) as stream:
            stream.write(content)

    def names(self, folder: str) -> list[str]:
        system, path = self._at(folder)
        found = {info.base_name for info in system.get_file_info(fs.FileSelector(path, allow_not_found=True))}
        if not found and self._type(folder) == fs.FileType.File:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        marks = {name for name in found if name.endswith(UNFINISHED)}
        return sorted(found - marks - {name[1:].removesuffix(UNFINISHED) for name in marks} - {""})

    def exists(self, name: str) -> bool:
        kind = self._type(name)
        return kind == fs.FileType.File or (kind == fs.FileType.Directory and not self._is_unfinished(name))

    def size(self, name: str) -> int:
        system, path = self._at(name)
        if self._type(name) == fs.FileType.File:
            return int(system.get_file_info(path).size)
        below = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        return sum(info.size or 0 for info in below)

    def delete(self, name: str) -> None:
        system, path = self._at(name)
        kind = self._type(name)
        if kind == fs.FileType.File:
            system.delete_file(path)
        elif kind == fs.FileType.Directory:
            system.delete_dir(path)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        if not self.exists(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self}/{name}")
        system, path = self._at(name)
        with TemporaryDirectory(prefix="raggrid-") as folder:
            here = Path(folder) / Path(name).name
            if self._type(name) == fs.FileType.Directory:
                here.mkdir()
            _read_again(lambda: fs.copy_files(path, str(here), source_filesystem=system, destination_filesystem=HERE))
            yield here

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="raggrid-") as folder:
            here = Path(folder) / Path(name).name
            yield here
            system, path = self._at(name)
            if here.is_file():
                _make_parent(system, path)
                fs.copy_files(str(here), path, source_filesystem=HERE, destination_filesystem=system)
                return
            here.iterdir()  # raises where nothing was written
            self.write(_mark(name), b"")
            self.delete(name)
            system.create_dir(path)
            fs.copy_files(str(here), path, source_filesystem=HERE, destination_filesystem=system)
            self.delete(_mark(name))

    def _at(self, name: str) -> tuple[fs.FileSystem, str]:
        system, root = file_system(self.address)
        return system, f"{root}/{name}".rstrip("/")

    def _type(self, name: str) -> fs.FileType:
        system, path = self._at(name)
        return system.get_file_info(path).type

    def _is_unfinished(self, name: str) -> bool:
        return bool(self._type(_mark(name)) == fs.FileType.File)


def open_files(address: str) -> RemoteFiles:
    """The files at an address, which need not exist.

    Raises:
        RecordError: the address has a secret in it, or no bucket.
    """
    parts = urlsplit(address)
    if parts.password or "secret_key" in parts.query:
        raise RecordError(
            f"{parts.scheme}://{parts.hostname or ''}{parts.path}: got an address with a secret; expected one without, "
            "since addresses are shown and passed on. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role."
        )
    if not parts.netloc and parts.scheme in ARROW:
        raise RecordError(f"{address}: got no bucket; expected {parts.scheme}://BUCKET/FOLDER. Give one.")
    return RemoteFiles(address.rstrip("/"))


def is_known(kind: str) -> bool:
    """Whether pyarrow or fsspec has a file system for addresses ``kind://...``."""
    return kind in ARROW or kind in available_protocols()


@cache
def file_system(address: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address and the path in it, made once per process: it keeps connections and credentials."""
    parts = urlsplit(address)
    if parts.scheme == "s3":
        return _s3(parts), f"{parts.netloc}{parts.path}".rstrip("/")
    try:
        kind = "" if parts.scheme in ARROW else "fsspec+"
        system, path = fs.FileSystem.from_uri(kind + address)
    except (ImportError, ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise RecordError(f"{address}: cannot be reached: {why}. Install what the error names, or use s3://.") from None
    return system, path.rstrip("/")


def _s3(parts: SplitResult) -> fs.S3FileSystem:
    """Credentials come from the environment, a profile or the machine's role, which the AWS SDK renews."""
    options = dict(parse_qsl(parts.query))
    endpoint = options.get("endpoint_override") or os.environ.get(
        "AWS_ENDPOINT_URL_S3", os.environ.get("AWS_ENDPOINT_URL")
    )
    region = options.get("region") or os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION"))
    if region is None and endpoint is None:
        region = fs.resolve_s3_region(parts.netloc)
    return fs.S3FileSystem(
        endpoint_override=endpoint, region=region, scheme=options.get("scheme"),
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        request_timeout=REQUEST_SECONDS, connect_timeout=CONNECT_SECONDS,
        allow_delayed_open=True,  # so that a small file takes one request
    )  # fmt: skip


def _read_again(read: Callable[[], T]) -> T:
    """What ``read`` returns, once no answer is lost to `NO_RETRY`. A file that is short is likely to meet it."""
    for attempt in range(1, ATTEMPTS):
        try:
            return read()
        except OSError as error:
            if NO_RETRY not in str(error):
                raise
            time.sleep(0.05 * 2**attempt)
    return read()


def _mark(name: str) -> str:
    """The file that stands beside a folder while it is uploaded."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/.{last}{UNFINISHED}".lstrip("/")


def _make_parent(system: fs.FileSystem, path: str) -> None:
    """Object stores have no folders to make."""
    if system.type_name not in {"s3", "gcs"}:
        system.create_dir(path.rpartition("/")[0], recursive=True)
