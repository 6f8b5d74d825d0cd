"""The ledger summed up: what every device-second was used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raggrid.analysis.costs.device_prices import Price, price_of
from raggrid.records import Category, LedgerRecord, Status, TrialRecord
from raggrid.store.columns import columns
from raggrid.store.files import Location
from raggrid.store.tables import read, read_space, read_table


@dataclass(frozen=True)
class Bill:
    """Device-seconds by category; ``total`` is what the allocation held, idle time included.

    ``by_device_type``: the same total by type of device. ``dollars``: it in money, each type at its price; None without
    one. ``over_budget``: trials that the budget ended early.
    """

    device_seconds: Mapping[str, float]
    total: float
    device_types: tuple[str, ...]
    dollars: float | None
    over_budget: int
    by_device_type: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def bill(run: Location, *, price: Price | None = None) -> Bill:
    """Sum up the ledger of a run directory.

    Args:
        run: the run directory.
        price: dollars per device-hour, of every device or by type. Default: ``resources.dollars_per_device_hour``.

    Raises:
        InputError: a type of device has no price among those given.
        RecordError: ``run`` is not a run directory.
    """
    space = read_space(run)
    table = columns(read_table(run, LedgerRecord), ("category", "device_seconds", "device_type"))
    sums: dict[str, float] = {
        name: float(table["device_seconds"][table["category"] == name].sum()) for name in Category
    }
    total = sum(sums.values())
    over_budget = sum(row.status == Status.OVER_BUDGET for row in read(run, TrialRecord))
    types = {name: float(table["device_seconds"][table["device_type"] == name].sum())
             for name in sorted(set(table["device_type"]))}  # fmt: skip
    asked = space.resources.dollars_per_device_hour if price is None else price
    return Bill(sums, total, tuple(types), _dollars(asked, types), over_budget, types)


def _dollars(price: Price | None, device_seconds: Mapping[str, float]) -> float | None:
    if price is None:
        return None
    hourly = {name: price_of(name, price) if isinstance(price, Mapping) else price for name in device_seconds}
    return sum(hourly[name] * seconds for name, seconds in device_seconds.items()) / 3600
