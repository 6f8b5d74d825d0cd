"""Prices of device-hours: one for every device, or one for each type of device."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from raggrid.errors import InputError

Price = float | Mapping[str, float]
"""Dollars per device-hour, of every device or by type. A name such as ``H100`` stands for each type that contains it,
whatever its case; of several such names the longest counts, and ``A10`` does not stand for an A100."""


def check_price(price: Price | None) -> None:
    """Raises `InputError` where a price is negative or not finite."""
    for amount in price.values() if isinstance(price, Mapping) else () if price is None else (price,):
        if not 0.0 <= amount < math.inf:
            raise InputError(f"price: got {amount}; expected a number of at least 0.")


def price_of(device: str, price: Price) -> float:
    """Dollars per hour of a type of device. Raises `InputError` where it has no price, or more than one."""
    if not isinstance(price, Mapping):
        return price
    names = {name: amount for name, amount in price.items() if is_called(device, name)}
    longest = max(map(len, names), default=0)
    found = [amount for name, amount in names.items() if len(name) == longest]
    if len(found) == 1:
        return found[0]
    got = "more than one price" if found else f"prices for {', '.join(price)}"
    raise InputError(
        f"price: got {got}; expected one for {device} as well. Add '{device}=DOLLARS' (--price), or the type to "
        "resources.dollars_per_device_hour."
    )


def unpriced(price: Price | None, devices: Iterable[str]) -> tuple[str, ...]:
    """Those of some types of device that have no price among those given."""
    return tuple(device for device in sorted(devices) if price is not None and not _is_priced(price, device))


def _is_priced(price: Price, device: str) -> bool:
    try:
        price_of(device, price)
    except InputError:
        return False
    return True


def hourly_dollars(price: Price | None, devices: Mapping[str, float]) -> float | None:
    """What devices by type cost per hour, each at its price; None without a price.

    A type that has none counts at the highest of those given: one that joins a study while it runs must not end it,
    and a budget had better end early than late.
    """
    if price is None:
        return None
    highest = max(price.values(), default=0.0) if isinstance(price, Mapping) else price
    return math.fsum(
        count * (price_of(device, price) if _is_priced(price, device) else highest) for device, count in devices.items()
    )


def is_called(device: str, name: str) -> bool:
    """Whether a name of a type, such as A10G, is meant by that of a device, such as NVIDIA A10G."""
    return re.search(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![0-9])", device.lower()) is not None


def dollars_of(price: Price | None, device_seconds: Mapping[str, float]) -> float | None:
    """What device-seconds by type of device cost, each at its price; None without a price.

    Raises:
        InputError: a type has no price among those given.
    """
    if price is None:
        return None
    return math.fsum(price_of(device, price) * seconds for device, seconds in device_seconds.items()) / 3600
