"""Where a row stands, and what is wrong with rows: by file and mistake, all of it at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A file, or a row of it: ``:7`` is line 7, ``: row 7`` a row without lines."""

    file: Path
    row: str = ""

    def __str__(self) -> str:
        return f"{self.file}{self.row}"


Row = tuple[Place, dict[str, Any]]


@dataclass
class _Mistake:
    """One mistake of one file: what is wrong in the first row that has it, the last such row so far, their number."""

    first: Place
    sentence: str
    last: Place
    rows: int = 1

    def __str__(self) -> str:
        repeats = f" (the first of {self.rows:,} such rows)" if self.rows > 1 else ""
        return f"{self.first}{repeats}: {self.sentence}"


class Problems(dict[tuple[Path, str], _Mistake]):
    """What is wrong, by file and mistake: one that repeats over a file is told once.

    ``left_out`` counts rows that are right but of no use here, by the reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: Counter[str] = Counter()

    def note(self, place: Place, mistake: str, *values: object) -> None:
        """``mistake`` says what is wrong, with a ``{}`` for each of the ``values`` that differ from row to row."""
        known = self.setdefault((place.file, mistake), _Mistake(place, mistake.format(*values), place))
        known.rows += place != known.last
        known.last = place


def shown(value: object) -> str:
    """A value in a message: at most 60 characters of it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
