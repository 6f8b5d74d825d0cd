"""The little that a run directory asks of a file system, and which file system an address names.

Names are relative to the run directory, with ``/`` between their parts.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from raggrid.errors import RecordError
from raggrid.store.local import LocalFiles
from raggrid.store.remote import is_known, open_files

ADDRESS = re.compile(r"([a-z][a-z0-9]+):(?://|/)(.*)", re.DOTALL)  # pathlib makes one slash of two


class Files(Protocol):
    """A folder on some file system. ``str()`` of it is what messages call it. Failures are ``OSError``."""

    def __hash__(self) -> int:
        """The same for equal folders: what was read from one is cached by it."""

    @property
    def address(self) -> str:
        """What `files_at` finds the same folder by, from another working folder or process too."""

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from at any position, not loaded whole. ``FileNotFoundError`` where it is missing."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file there whole, or leave what was there; on disk for good when this returns."""

    def names(self, folder: str) -> list[str]:
        """The files and folders that lie directly in a folder, in any order, unfinished ones left out; none where it is
        missing. Raises ``NotADirectoryError`` where it is a file."""

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""

    def size(self, name: str) -> int:
        """Bytes of a file, or of all files below a folder; 0 where it is missing."""

    def delete(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing where it is missing."""

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """A file or a folder as one on this machine's disk, for libraries that insist on a path."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """A path on this machine's disk, free for a file or a folder, which then replaces ``name`` whole. After an
        exception what was there stays."""


Location: TypeAlias = Path | str | Files
"""A run directory: a path, an address, or the files themselves."""


def files_at(run: Location) -> Files:
    """The files of a run directory, which need not exist.

    Raises:
        RecordError: an address of a kind that nobody knows, without a bucket, or with a secret in it.
    """
    if not isinstance(run, (str, Path)):
        return run
    parts = ADDRESS.fullmatch(str(run))
    if parts is None:
        return LocalFiles(Path(run))
    kind, address = parts[1], f"{parts[1]}://{parts[2]}"
    if is_known(kind):
        return open_files(address)
    raise RecordError(
        f"{address}: got an address of kind '{kind}'; expected a folder, or an address that pyarrow or fsspec knows. "
        "Give one of these, such as s3://BUCKET/FOLDER."
    )


def read_bytes(files: Files, name: str) -> bytes:
    """All of a file."""
    with files.open(name) as source:
        return bytes(source.read())
