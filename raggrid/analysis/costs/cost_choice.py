"""The cost that decides between strategies, and its price in money."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from raggrid.analysis.results import StrategyResult
from raggrid.errors import InputError

CostBasis = Literal["search", "final", "marginal"]


def cost_of(line: StrategyResult, basis: CostBasis) -> float:
    """Device-seconds; nan if a table does not say."""
    return float(getattr(line.costs, basis))


def cost_basis(lines: Sequence[StrategyResult], wanted: CostBasis | None, *, known_learning_rates: bool) -> CostBasis:
    """The cost that decides: the wanted one; by default ``search``, or ``final`` if no search is needed or recorded.

    Raises:
        InputError: an imported table lacks the wanted cost.
    """
    basis: CostBasis = wanted or ("final" if known_learning_rates else "search")
    if not any(math.isnan(cost_of(line, basis)) for line in lines):
        return basis
    if wanted is None and not any(math.isnan(line.costs.final) for line in lines):
        return "final"
    raise InputError(f"cost: got {basis}; the imported table lacks it for some strategy. Use --cost final.")


def device_limit(max_device_hours: float | None, max_dollars: float | None, price: float | None) -> float | None:
    """The budget in device-seconds; None without one.

    Raises:
        InputError: dollars without a price.
    """
    limits = [] if max_device_hours is None else [max_device_hours * 3600]
    if max_dollars is not None:
        if price is None:
            raise InputError(
                "max_dollars: needs a price per device-hour. Add --price, or resources.dollars_per_device_hour."
            )
        limits.append(max_dollars / price * 3600 if price else float("inf"))
    return min(limits, default=None)
