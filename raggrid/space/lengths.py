"""How long phases train: in steps, or in epochs, which become steps once the number of training rows is known."""

from __future__ import annotations

import math
from typing import NamedTuple

from raggrid.errors import SpaceError
from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Labels, Rag
from raggrid.strategies import Phase


class Rows(NamedTuple):
    """What an epoch goes over: (question, gold passage) pairs under ``labels``, questions under ``rag``."""

    labels: int
    rag: int


def steps_of(epochs: float, num_rows: int, batch_size: int) -> int:
    """Steps of ``epochs`` passes over the rows, rounded up, as transformers' Trainer counts them.

    >>> steps_of(1, 90_447, 8), steps_of(0.5, 10, 4)
    (11306, 2)
    """
    return math.ceil(epochs * math.ceil(num_rows / batch_size))


def needs_rows(space: SearchSpace) -> bool:
    """Whether some length is given in epochs."""
    return space.training.labels.epochs is not None or space.training.rag.epochs is not None


def with_steps(space: SearchSpace, rows: Rows | None) -> SearchSpace:
    """The space with ``steps`` wherever it says ``epochs``.

    Args:
        space: what to fill in.
        rows: those of its data, within its limits; None where they are not known.

    Raises:
        SpaceError: steps are given too, and are not those of the epochs; or rows are needed and not known.
    """
    parts = {name: _counted(name, getattr(space.training, name), rows) for name in Rows._fields}
    return space.model_copy(update={"training": space.training.model_copy(update=parts)})


def max_steps(space: SearchSpace, phase: Phase) -> int:
    """Steps of a trial of a phase. Raises `SpaceError` for epochs before `with_steps`."""
    name = "labels" if phase.needs_labels else "rag"
    return _counted(name, getattr(space.training, name), None).steps


def _counted(name: str, length: Labels | Rag, rows: Rows | None) -> Labels | Rag:
    key, given = f"training.{name}", length.steps if "steps" in length.model_fields_set else None
    if length.epochs is None or (rows is None and given is not None):
        return length
    if rows is None:
        raise SpaceError(
            f"{key}.epochs: got {length.epochs:g} of an unknown number of rows; expected the data, or "
            f"data.limits.train in its place. Set that limit, or {key}.steps instead."
        )
    num_rows = getattr(rows, name)
    steps = max(1, steps_of(length.epochs, num_rows, length.batch_size))  # without labels nothing trains so long
    if given not in (None, steps):
        raise SpaceError(
            f"{key}: got steps {given} and epochs {length.epochs:g}, which is {steps} steps over {num_rows} rows; "
            f"expected one of the two. Remove one, such as with --set {key}.epochs=null."
        )
    return length.model_copy(update={"steps": steps})
