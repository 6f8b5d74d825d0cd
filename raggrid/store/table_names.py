"""The names of a table's files: the order in which they were written, and which of them a merged one replaces.

A small file is ``TIME-PROCESS-COUNT.parquet``, in which a later time sorts behind an earlier one. A merged file is
``FIRST_LAST_LEVEL.parquet``, after the first and the last small file that it holds the rows of. From the moment it is
there every file between these, of a lower level, is out of date: no row counts twice, whenever somebody looks.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Collection, Sequence

SUFFIX = ".parquet"
MERGED = re.compile(r"(.+)_(.+)_(\d+)\.parquet")
_counter = itertools.count()


def new_name(after: str = "") -> str:
    """The name of a Parquet file that no other process chooses, and that sorts behind ``after``, whatever the clock
    says."""
    return f"{max(time.time_ns(), _time_of(after) + 1):020d}-{os.getpid()}-{next(_counter)}{SUFFIX}"


def _time_of(name: str) -> int:
    digits = span_of(name)[1].partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def merged_name(parts: Sequence[str], level: int) -> str:
    """The name of a file that replaces ``parts``, which are in order."""
    return f"{span_of(parts[0])[0]}_{span_of(parts[-1])[1]}_{level}{SUFFIX}"


def level_of(name: str) -> int:
    """0 of a small file."""
    found = MERGED.fullmatch(name)
    return int(found[3]) if found else 0


def span_of(name: str) -> tuple[str, str]:
    """The first and the last small file whose rows are in a file."""
    found = MERGED.fullmatch(name)
    plain = name.removesuffix(SUFFIX)
    return (found[1], found[2]) if found else (plain, plain)


def up_to_date(names: Collection[str]) -> list[str]:
    """The files of a folder that count, in the order written."""
    parts = sorted((name for name in names if name.endswith(SUFFIX)), key=span_of)
    merged = [(*span_of(name), level_of(name)) for name in parts if level_of(name)]
    return [name for name in parts if not _is_replaced(name, merged)]


def _is_replaced(name: str, merged: Sequence[tuple[str, str, int]]) -> bool:
    first, last = span_of(name)
    level = level_of(name)
    return any(start <= first and last <= end and level < of for start, end, of in merged)
