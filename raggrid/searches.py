"""The learning-rate search of one phase under one loss, and where its learning rates come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from raggrid.space.lengths import max_steps
from raggrid.space.rates import Pair, drawn, middle_out
from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Rates, Sampled
from raggrid.strategies import PHASES, Phase, search_name


@dataclass(frozen=True)
class PhaseSearch:
    """The learning-rate search of one phase under one loss.

    ``grid`` holds (embedder_lr, generator_lr) pairs in the order in which they are tried. It is empty where pairs
    become known on the way: those of ``proposed`` (what each side is drawn from, batch by batch), or of a joint
    search that starts from the winners of ``rates_from`` (embedder's search, generator's search): the ``pair``
    alone, or its ``neighbours`` too. ``extend_at_most``: how many values may be added at either end of the grid.
    ``upstream`` names the search whose winner is the frozen other side.
    """

    name: str
    phase: str
    loss: str
    max_steps: int
    grid: tuple[Pair, ...] = ()
    upstream: str | None = None
    rates_from: tuple[str, ...] = ()
    around: Literal["pair", "neighbours"] = "pair"
    proposed: Mapping[str, Sampled | tuple[float, ...]] = field(default_factory=dict)
    extend_at_most: int = 0
    num_trials: int = 1
    """Trials of a full search, early stopping and extensions aside; for ``neighbours`` the most there can be."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Searches that must have a winner before this one can start."""
        return (*((self.upstream,) if self.upstream else ()), *self.rates_from)


def phase_search(space: SearchSpace, name: str) -> PhaseSearch:
    """The search of this name (see `search_name`) in a space."""
    phase_name, _, loss = name.partition("/")
    phase = PHASES[phase_name]
    steps = max_steps(space, phase)
    upstream = search_name(phase.upstream, space.losses.phases) if phase.upstream else None
    return _with_rates(space, phase, PhaseSearch(name, phase_name, phase.loss or loss, steps, upstream=upstream))


def _with_rates(space: SearchSpace, phase: Phase, search: PhaseSearch) -> PhaseSearch:
    """The search with its learning rates: known pairs, or where they come from."""
    rates = space.learning_rates
    sides: dict[str, Rates] = {side: getattr(rates, side) for side in phase.sides}
    if phase.rates_from and rates.joint != "grid":
        return _from_winners(space, phase, search)
    values = {side: _values(space, side, given) for side, given in sides.items()}
    known = {side: given for side, given in values.items() if not isinstance(given, Sampled)}
    count = math.prod(given.count if isinstance(given, Sampled) else len(given) for given in values.values())
    if len(known) < len(values):
        return replace(search, proposed=values, num_trials=count)
    left: tuple[float | None, ...] = known.get("embedder", (None,))
    right: tuple[float | None, ...] = known.get("generator", (None,))
    # Draws have no ends, and in two dimensions an end is not a single value.
    extends = rates.extend_grid and [type(given) for given in sides.values()] == [tuple]
    return replace(
        search,
        grid=tuple((e, g) for e in left for g in right),
        num_trials=count,
        extend_at_most=rates.extend_at_most if extends else 0,
    )


def _values(space: SearchSpace, side: str, rates: Rates) -> Sampled | tuple[float, ...]:
    """The values of one side in the order in which they are tried; what Optuna draws is not known yet."""
    if not isinstance(rates, Sampled):
        return middle_out(rates)
    return rates if rates.sample == "optuna" else drawn(rates, space.seeds[0], side)


def _from_winners(space: SearchSpace, phase: Phase, search: PhaseSearch) -> PhaseSearch:
    """A joint search at or around the learning rates that other searches found."""
    rates = space.learning_rates
    sources = tuple(search_name(name, space.losses.phases) for name in phase.rates_from)
    if rates.joint == "two_phase":
        return replace(search, rates_from=sources)
    counts = [given.count if isinstance(given, Sampled) else len(given) for given in (rates.embedder, rates.generator)]
    return replace(
        search, rates_from=sources, around="neighbours", num_trials=1 + sum(min(2, count - 1) for count in counts)
    )
