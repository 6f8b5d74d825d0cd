"""The little that a run directory asks of a file system, and which file system an address names.

Names are relative to the run directory, with ``/`` between their parts. For run directories on another file system add
one file: ``raggrid/store/SCHEME.py`` with ``open_files(address: str) -> Files`` serves every ``SCHEME://...``.
"""

from __future__ import annotations

import importlib
import re
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from raggrid.errors import RecordError
from raggrid.store.local import LocalFiles

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
        RecordError: an address of a kind that raggrid does not know.
    """
    if not isinstance(run, (str, Path)):
        return run
    parts = ADDRESS.fullmatch(str(run))
    if parts is None:
        return LocalFiles(Path(run))
    address, module = f"{parts[1]}://{parts[2]}", f"raggrid.store.{parts[1]}"
    open_files = getattr(importlib.import_module(module), "open_files", None) if find_spec(module) else None
    if open_files is None:
        raise RecordError(
            f"{address}: got an address of kind '{parts[1]}'; expected a folder. Give the path of one, such as a mount "
            "that all nodes see."
        )
    found: Files = open_files(address)
    return found


def read_bytes(files: Files, name: str) -> bytes:
    """All of a file."""
    with files.open(name) as source:
        return bytes(source.read())
