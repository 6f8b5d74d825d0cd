"""How many rates Optuna proposes at once: decided when a study begins, since other batches propose other rates."""

from __future__ import annotations

from collections.abc import Callable

from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Sampled

SMALLEST_BATCH = 4
"""Of a study with few slots: the first batch learns nothing, and with it there are enough to learn from."""


def with_batches(space: SearchSpace, slots: int) -> SearchSpace:
    """The space with every batch that it leaves open as large as ``slots`` concurrent trials need it."""
    return _filled(space, lambda _: max(SMALLEST_BATCH, slots))


def with_batches_of(space: SearchSpace, recorded: SearchSpace) -> SearchSpace:
    """The space with every batch that it leaves open as it was recorded."""
    return _filled(space, lambda side: getattr(getattr(recorded.learning_rates, side), "batch", None))


def _filled(space: SearchSpace, batch: Callable[[str], int | None]) -> SearchSpace:
    rates = space.learning_rates
    sides = {side: given for side in ("embedder", "generator") if isinstance(given := getattr(rates, side), Sampled)}
    filled = {side: given.model_copy(update={"batch": batch(side)}) for side, given in sides.items() if not given.batch}
    if not filled:
        return space
    return space.model_copy(update={"learning_rates": rates.model_copy(update=filled)})
