"""The passage vectors of a corpus, by row: in memory, or mapped from files that all processes of a machine share.

N vectors of length D, in float32 or float16; whoever reads some gets float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Stored = npt.NDArray[np.float32] | npt.NDArray[np.float16]
CONVERTED_AT_ONCE = 4096  # rows of float16: in float32 they stay in a processor's cache until they are compared


class Vectors:
    """(N, D) vectors in parts, all of as many rows as the first but the last, which may have fewer."""

    def __init__(self, parts: Sequence[Stored]) -> None:
        self._parts = [np.ascontiguousarray(part) for part in parts]
        self._rows = len(self._parts[0])
        self._total = self._rows * (len(parts) - 1) + len(parts[-1])
        if any(len(part) != self._rows for part in self._parts[:-1]):
            raise ValueError(f"got parts of {[len(part) for part in parts]} rows; expected equal ones.")

    @classmethod
    def mapped(cls, paths: Sequence[Path]) -> Vectors:
        """The vectors in .npy files, in their order. They are read when they are looked at."""
        return cls([np.load(path, mmap_mode="c") for path in paths])  # what is written would stay here; torch asks

    def __len__(self) -> int:
        return self._total

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._parts[0].shape[1])

    def __getitem__(self, places: Any) -> Floats:
        """The vectors at a slice, or at integers of any shape, which come with one more axis of length D."""
        chosen = np.arange(self._total)[places] if isinstance(places, slice) else np.asarray(places)
        flat = chosen.ravel()
        found = np.empty((len(flat), self.dimension), dtype=np.float32)
        numbers = flat // self._rows
        for number in np.unique(numbers):
            here = numbers == number
            found[here] = self._parts[number][flat[here] - number * self._rows]
        return found.reshape(*chosen.shape, self.dimension)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """(place of its first row, rows) of consecutive parts. A block is only good until the next one."""
        for number, part in enumerate(self._parts):
            start = number * self._rows
            if part.dtype == np.float32:
                yield start, np.asarray(part, dtype=np.float32)
                continue
            buffer = np.empty((min(CONVERTED_AT_ONCE, len(part)), self.dimension), dtype=np.float32)
            for first in range(0, len(part), CONVERTED_AT_ONCE):
                rows = torch.from_numpy(part[first : first + CONVERTED_AT_ONCE])
                torch.from_numpy(buffer[: len(rows)]).copy_(rows)  # five times as fast as numpy's
                yield start + first, buffer[: len(rows)]
