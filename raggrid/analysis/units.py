"""Device-seconds in a unit that is easy to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit of device time: its name, its length in seconds, and the digits worth printing."""

    name: str
    seconds: float

    def text(self, device_seconds: float) -> str:
        """The number alone, with three digits or so."""
        value = device_seconds / self.seconds
        return "0" if value == 0 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def unit_for(device_seconds: Iterable[float], device_types: Iterable[str]) -> Unit:
    """One unit for all numbers of a table, chosen by the largest. Says GPU only if all devices are GPUs."""
    device = "device" if "cpu" in set(device_types) else "GPU"
    largest = max(device_seconds, default=0.0)
    for name, seconds in (("hours", 3600.0), ("minutes", 60.0)):
        if largest >= 3 * seconds:
            return Unit(f"{device}-{name}", seconds)
    return Unit(f"{device}-seconds", 1.0)


def told(low: float, high: float, device_types: Iterable[str]) -> str:
    """A range of device-seconds in words, such as ``3.0 to 5.2 device-minutes``."""
    unit = unit_for([high], device_types)
    ends = unit.text(low), unit.text(high)
    return f"{ends[0] if ends[0] == ends[1] else ' to '.join(ends)} {unit.name}"
