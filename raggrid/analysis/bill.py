"""The ledger summed up: what every device-second was used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raggrid.prices import Price, check_price, dollars_of
from raggrid.records import Category, LedgerRecord, Status, TrialRecord
from raggrid.store.columns import columns
from raggrid.store.files import Location
from raggrid.store.tables import read, read_space, read_table


@dataclass(frozen=True)
class Bill:
    """Device-seconds by category; ``total`` is what the allocation held, idle time included.

    ``by_device_type``: the same total by type of device, and ``by_type_and_category`` its parts. ``dollars``: the total
    in money, each type at its price; None without one. ``over_budget``: trials that the budget ended early.
    """

    device_seconds: Mapping[str, float]
    total: float
    device_types: tuple[str, ...]
    dollars: float | None
    over_budget: int
    by_device_type: Mapping[str, float]
    by_type_and_category: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def bill(run: Location, *, price: Price | None = None) -> Bill:
    """Sum up the ledger of a run directory.

    Args:
        run: the run directory.
        price: dollars per device-hour, of every device or by type. Default: ``resources.dollars_per_device_hour``.

    Raises:
        InputError: a price is negative, or a type of device has none among those given.
        RecordError: ``run`` is not a run directory.
    """
    space = read_space(run)
    table = columns(read_table(run, LedgerRecord), ("category", "device_seconds", "device_type"))
    seconds, kind = table["device_seconds"], table["device_type"]
    parts = {
        device: {str(name): float(seconds[(kind == device) & (table["category"] == name)].sum()) for name in Category}
        for device in sorted(set(kind))
    }
    types = {device: sum(own.values()) for device, own in parts.items()}
    sums = {str(name): sum(own[name] for own in parts.values()) for name in Category}
    over_budget = sum(row.status == Status.OVER_BUDGET for row in read(run, TrialRecord))
    asked = space.resources.dollars_per_device_hour if price is None else price
    check_price(asked)
    dollars = dollars_of(asked, types)
    return Bill(sums, sum(types.values()), tuple(types), dollars, over_budget, types, parts)
