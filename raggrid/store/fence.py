"""A run directory as its own search and its workers see it: writable as long as their lease holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raggrid.store.files import Files
from raggrid.store.lease import end_mark
from raggrid.store.storage import LeaseLost


@dataclass(frozen=True)
class Fenced:
    """`Files` of which every change raises `LeaseLost` once the lease is over."""

    files: Files
    lease: str

    def __str__(self) -> str:
        return str(self.files)

    @property
    def address(self) -> str:
        return self.files.address

    def open(self, name: str) -> pa.NativeFile:
        return self.files.open(name)

    def names(self, folder: str) -> list[str]:
        return self.files.names(folder)

    def exists(self, name: str) -> bool:
        return self.files.exists(name)

    def size(self, name: str) -> int:
        return self.files.size(name)

    def reading(self, name: str) -> AbstractContextManager[Path]:
        return self.files.reading(name)

    def write(self, name: str, content: bytes) -> None:
        self._check()
        self.files.write(name, content)

    def delete(self, name: str) -> None:
        self._check()
        self.files.delete(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with self.files.writing(name) as path:
            yield path
            self._check()

    def _check(self) -> None:
        if self.files.exists(end_mark(self.lease)):
            raise LeaseLost(f"{self}: another search holds it by now; this one gave no sign of life for too long")
