"""Run directories on a disk of this machine, or on a mount: what is written is forced to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class LocalFiles:
    """The `Files` of a folder. At any moment of a crash a name stands for something whole, or for nothing."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        return str(self.path.resolve())

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(str(self.path / name))

    def write(self, name: str, content: bytes) -> None:
        with self.writing(name) as part:
            part.write_bytes(content)

    def names(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            found = os.listdir(self.path / folder)  # noqa: PTH208 - tens of thousands
            return [name for name in found if not (name.startswith(".") and name.endswith(".tmp"))]
        return []

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def size(self, name: str) -> int:
        root, total = self.path / name, 0
        for path in (root, *root.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # trials may replace some meanwhile
                total += 0 if path.is_dir() else path.stat().st_size
        return total

    def delete(self, name: str) -> None:
        _remove(self.path / name)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        path = self.path / name
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.tmp")
        _remove(part)  # what a killed process left
        try:
            yield part
            if part.is_file():
                _force_to_disk(part)
            else:
                _remove(path)
            part.replace(path)
        except BaseException:
            _remove(part)
            raise


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
