"""Checkpoints of finished trials: which to keep, and how much space they take."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from raggrid.space.settings import Checkpoints
from raggrid.store.tables import checkpoint_folder

GIGABYTE = 10**9


def apply_retention(run: Path, wanted: Checkpoints, removable: Iterable[str]) -> bool:
    """Delete checkpoints that can no longer be needed, as far as ``wanted`` says.

    Args:
        run: the run directory.
        wanted: ``keep: best`` deletes all of them; ``keep: all`` only while they take more than ``max_gigabytes``.
        removable: finished trials that can no longer win, the worst last.

    Returns:
        Whether the rest is within ``max_gigabytes``; what a later phase, a resume or an export needs is always kept.
    """
    limit = wanted.max_gigabytes
    for trial_id in reversed(list(removable)):
        folder = checkpoint_folder(run, trial_id)
        too_much = limit is not None and gigabytes(run / "checkpoints") > limit
        if folder.is_dir() and (wanted.keep == "best" or too_much):
            shutil.rmtree(folder, ignore_errors=True)
    return limit is None or gigabytes(run / "checkpoints") <= limit


def gigabytes(folder: Path) -> float:
    """The size of a folder's files, in units of 10^9 bytes; trials may replace some meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if path.is_dir() else path.stat().st_size
    return total / GIGABYTE
