"""The ledger summed up: what every device-second was used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raggrid.records import Category, LedgerRecord, Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.columns import columns
from raggrid.store.files import Location
from raggrid.store.tables import read, read_space, read_table


@dataclass(frozen=True)
class Bill:
    """Device-seconds by category; ``total`` is what the allocation held, idle time included.

    ``dollars``: the total in money where the space has a price. ``over_budget``: trials that the budget ended early.
    """

    device_seconds: Mapping[str, float]
    total: float
    device_types: tuple[str, ...]
    dollars: float | None
    over_budget: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def bill(run: Location) -> Bill:
    """Sum up the ledger of a run directory.

    Raises:
        RecordError: ``run`` is not a run directory.
    """
    space = read_space(run)
    table = columns(read_table(run, LedgerRecord), ("category", "device_seconds", "device_type"))
    sums: dict[str, float] = {
        name: float(table["device_seconds"][table["category"] == name].sum()) for name in Category
    }
    total = sum(sums.values())
    over_budget = sum(row.status == Status.OVER_BUDGET for row in read(run, TrialRecord))
    return Bill(sums, total, tuple(sorted(set(table["device_type"]))), _dollars(space, total), over_budget)


def _dollars(space: SearchSpace, device_seconds: float) -> float | None:
    price = space.resources.dollars_per_device_hour
    return None if price is None else price * device_seconds / 3600
