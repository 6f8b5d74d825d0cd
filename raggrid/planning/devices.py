"""Data of devices: peak throughput, memory and its bandwidth, as stated by their manufacturers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from raggrid.errors import InputError

GIGA = 1e9


@dataclass(frozen=True)
class Device:
    """A GPU, or one CPU core.

    ``flops``: operations of dense matrix products per second in the precision of training (16 bit on GPUs, float32 on
    CPUs). ``utilisation``: the share of it that training reaches. ``memory_bytes`` is None if memory is shared.
    ``link_bytes_per_second``: from one device of a machine to another, in one direction.
    """

    name: str
    flops: float
    bytes_per_second: float
    memory_bytes: float | None
    utilisation: float
    link_bytes_per_second: float


# Share of the peak: Llama 3 reports 38 to 43% on H100 (arXiv 2407.21783, table 4), PaLM 46% on TPU v4 (arXiv
# 2204.02311, section 4.1), both at far larger batches than a fine-tuning trial's.
GPU_UTILISATION = 0.4
# One core's matrix products through oneDNN: training steps of SmolLM2-135M on an AMD EPYC reached 82 of 96 Gflop/s.
CPU_UTILISATION = 0.85


PCIE_3, PCIE_4 = 16, 32  # GB/s of 16 lanes in one direction
CPU_LINK = 1.0  # GB/s: gloo over the loopback device, roughly


def _gpu(name: str, teraflops: float, gigabytes_per_second: float, gigabytes: float, link: float) -> Device:
    return Device(
        name, 1e12 * teraflops, GIGA * gigabytes_per_second, GIGA * gigabytes, GPU_UTILISATION, GIGA * link
    )  # fmt: skip


# Peaks without sparsity, from NVIDIA's data sheets. CPU: a core with two AVX2 multiply-add units at 3 GHz, and an even
# share of a server's memory bandwidth. The last number is PCI Express, or NVLink where the card has it.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("cpu", 96e9, 10 * GIGA, None, CPU_UTILISATION, CPU_LINK * GIGA),
        _gpu("T4", 65, 320, 16, PCIE_3),
        _gpu("L4", 121, 300, 24, PCIE_4),
        _gpu("A10", 125, 600, 24, PCIE_4),
        _gpu("A10G", 70, 600, 24, PCIE_4),
        _gpu("L40S", 362, 864, 48, PCIE_4),
        _gpu("A100-40GB", 312, 1555, 40, 300),
        _gpu("A100-80GB", 312, 2039, 80, 300),
        _gpu("H100", 989, 3350, 80, 450),
        _gpu("H200", 989, 4800, 141, 450),
    )
}


def device_called(name: str) -> Device | None:
    """The device of the table that a GPU's own name, such as ``NVIDIA A10``, contains; None for another."""
    return next((each for each in DEVICES.values() if each.name.partition("-")[0] in name.split()), None)


def device_named(name: str) -> Device:
    """A device of the table; the case of its name is ignored.

    Raises:
        InputError: an unknown name.
    """
    known = {device.lower(): device for device in DEVICES}
    if name.lower() in known:
        return DEVICES[known[name.lower()]]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"Did you mean '{known[close[0]]}'?" if close else "Choose the nearest one, or measure with --pilot."
    raise InputError(f"device: got '{name}'; expected one of {', '.join(DEVICES)}. {hint}")
