"""Which questions a training step sees: a pure function of seed and step, so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np


def batch_positions(num_questions: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Positions of the questions of training step ``step`` (from 0).

    Every epoch is one fresh permutation; a batch may span two epochs, so that all batches are full.

    >>> sorted(batch_positions(4, 4, 0, seed=0))
    [0, 1, 2, 3]
    """
    first = step * batch_size
    return [_position(num_questions, number, seed) for number in range(first, first + batch_size)]


def _position(num_questions: int, number: int, seed: int) -> int:
    """The position of the question that is drawn as the ``number``-th, over all epochs."""
    epoch, offset = divmod(number, num_questions)
    # A generator per (seed, epoch): no state to save, none to restore.
    return int(np.random.default_rng((seed, epoch)).permutation(num_questions)[offset])


def shard(items: list[int], rank: int, world_size: int) -> list[int]:
    """The part of ``items`` that worker ``rank`` handles; the parts are disjoint and cover all."""
    return items[rank::world_size]
