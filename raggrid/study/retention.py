"""Checkpoints of finished trials: which to keep, within how much room."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raggrid.space.settings import Checkpoints
from raggrid.store.storage import Storage


def apply_retention(storage: Storage, wanted: Checkpoints, removable: Callable[[Iterable[str]], list[str]]) -> bool:
    """Delete checkpoints that nothing can need any more, as far as ``wanted`` says.

    Args:
        storage: where they are.
        wanted: ``keep: best`` deletes all of them; ``keep: all`` only while they take more than ``max_gigabytes``.
        removable: those of some trials that have finished and can win no more, the worst last. Asked about what is
            there, not about all that ever was: that would grow with the study.

    Returns:
        Whether the rest keeps within ``max_gigabytes``; what a later phase, a resume or an export needs always stays.
    """
    limit = wanted.max_gigabytes
    for trial_id in reversed(removable(storage.checkpoints())):
        if wanted.keep == "best" or (limit is not None and storage.gigabytes() > limit):
            storage.drop_checkpoint(trial_id)
    return limit is None or storage.gigabytes() <= limit
