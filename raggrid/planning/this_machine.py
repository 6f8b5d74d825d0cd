"""The devices that a study will have: those that the user names, or this machine's."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from raggrid.planning.devices import DEVICES, Device, device_called, device_named
from raggrid.space.schema import nested
from raggrid.space.yaml_io import parse_space


def machine(name: str | None, count: int | None) -> tuple[Device, int]:
    """The device that trials will hold, and how many of them there are: as named, or what this machine has.

    Raises:
        InputError: an unknown name.
    """
    from raggrid.worker.pilot import gpus_here

    cores = os.cpu_count() or 1
    if name is not None:
        found = device_named(name)
        return found, count or (cores if found.name == "cpu" else 1)
    here, memory, gpus = gpus_here(parse_space(nested(_PROBE)))
    if not gpus:
        return replace(DEVICES["cpu"], memory_bytes=_memory() / (count or cores)), count or cores
    return replace(device_called(here) or DEVICES["A10"], memory_bytes=memory), count or gpus


_PROBE: dict[str, Any] = {
    "name": "probe", "data.folder": "d", "models.embedder": "e", "models.generator": "g", "strategies": ["baseline"],
}  # fmt: skip


def _memory() -> float:
    import psutil

    return float(psutil.virtual_memory().total)
