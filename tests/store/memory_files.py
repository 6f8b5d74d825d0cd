"""Run directories in the memory of this process: the second file system, which keeps the first honest."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa


class MemoryFiles:
    """`Files` in a dictionary, by name. Give the object itself: no address finds it."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def __str__(self) -> str:
        return self.address

    @property
    def address(self) -> str:
        return f"memory://{id(self):x}"

    def open(self, name: str) -> pa.NativeFile:
        if name not in self.contents:
            raise _missing(name)
        return pa.BufferReader(self.contents[name])

    def write(self, name: str, content: bytes) -> None:
        self.contents[name] = content

    def names(self, folder: str) -> list[str]:
        if folder in self.contents:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        start = f"{folder}/" if folder else ""
        return list({name.removeprefix(start).partition("/")[0] for name in self._below(start)})

    def _below(self, start: str) -> list[str]:
        return [name for name in list(self.contents) if name.startswith(start)]

    def _tree(self, name: str) -> list[str]:
        """The file of this name, or all files below the folder."""
        return [name] if name in self.contents else self._below(f"{name}/")

    def exists(self, name: str) -> bool:
        return bool(self._tree(name))

    def size(self, name: str) -> int:
        return sum(len(self.contents[part]) for part in self._tree(name))

    def delete(self, name: str) -> None:
        for part in self._tree(name):
            self.contents.pop(part, None)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        if not self.exists(name):
            raise _missing(name)
        with TemporaryDirectory() as folder:
            for part in self._tree(name):
                path = Path(folder) / part
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.contents[part])
            yield Path(folder) / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            yield path
            parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
            if not parts:
                raise _missing(name)
            written = {"/".join((name, *part.relative_to(path).parts)): part.read_bytes() for part in parts}
            self.delete(name)
            self.contents |= written


def _missing(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
