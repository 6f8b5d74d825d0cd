"""Prices by type of device, and costs that several types add up to: hours of the most expensive one, by price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raggrid.analysis.costs.cost_parts import cost_parts
from raggrid.analysis.results import Results, StrategyResult
from raggrid.costs import Costs
from raggrid.prices import Price, check_price, price_of
from raggrid.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Priced:
    """Studies whose costs count in one kind of device-second. ``dollars``: per hour of it, None without a price.

    ``caveat`` says what a cost adds up where there are several types of device; otherwise it is empty.
    """

    results: tuple[Results, ...]
    dollars: float | None
    caveat: str


def priced(results: Sequence[Results], price: Price | None) -> Priced:
    """Prices for studies: those given, or that of their spaces if they agree.

    Raises:
        InputError: a price is negative, or a type of device has none or more than one.
    """
    price = _of_spaces(results) if price is None else price
    check_price(price)
    devices = sorted({device for result in results for device in result.device_types})
    if not isinstance(price, Mapping):
        return Priced(results=tuple(results), dollars=price, caveat=_mixed(devices))
    dollars = {device: price_of(device, price) for device in devices}
    costliest = max(devices, key=dollars.__getitem__)
    weights = {device: dollars[device] / dollars[costliest] if dollars[costliest] else 1.0 for device in devices}
    weighed = tuple(_weighed(result, weights) for result in results)
    return Priced(results=weighed, dollars=dollars[costliest], caveat=_counted(costliest, weights))


def _of_spaces(results: Sequence[Results]) -> Price | None:
    """The price that all spaces say; None where they differ."""
    first, *others = [result.space.resources.dollars_per_device_hour for result in results]
    return first if all(other == first for other in others) else None


def _mixed(devices: Sequence[str]) -> str:
    if len(devices) < 2:
        return ""
    return f"Costs add the time on {' and '.join(devices)} as if these devices cost the same."


def _counted(costliest: str, weights: Mapping[str, float]) -> str:
    others = [
        f"an hour of {device} counts as {weight:.2g}" for device, weight in weights.items() if device != costliest
    ]
    return f"Costs are hours of {costliest}: by price, {', '.join(others)} of one." if others else ""


def _weighed(result: Results, weights: Mapping[str, float]) -> Results:
    """The study with every second times the weight of its device."""
    if all(weights[device] == 1.0 for device in result.device_types):
        return result
    lines, controls = (
        tuple(_line(result, line, weights) for line in own) for own in (result.measured, result.controls)
    )
    trials = tuple(_trial(row, weights[row.device_type]) for row in result.trials)
    return replace(result, measured=lines, controls=controls, trials=trials, device_weights=weights)


def _trial(row: TrialRecord, weight: float) -> TrialRecord:
    return replace(
        row, train_device_seconds=row.train_device_seconds * weight,
        evaluate_device_seconds=row.evaluate_device_seconds * weight,
        lost_device_seconds=row.lost_device_seconds * weight,
    )  # fmt: skip


def _line(result: Results, line: StrategyResult, weights: Mapping[str, float]) -> StrategyResult:
    final = _factor(result, line, "final", weights)
    costs = Costs(
        line.costs.final * final, line.costs.search * _factor(result, line, "search", weights),
        line.costs.marginal * _factor(result, line, "marginal", weights),
    )  # fmt: skip
    return replace(line, costs=costs, final_by_seed=tuple(value * final for value in line.final_by_seed))


def _factor(result: Results, line: StrategyResult, basis: str, weights: Mapping[str, float]) -> float:
    """What a recorded cost is multiplied by: the trials that it is the sum of, weighed over plain."""
    if result.imported:
        return weights[result.device_types[0]]
    parts = cost_parts(result, line, basis)
    plain = math.fsum(seconds for _, seconds in parts)
    return math.fsum(seconds * weights[row.device_type] for row, seconds in parts) / plain if plain else 1.0
