"""What a generator computes in, and how it attends: what was set, or what the study's devices do well."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from raggrid.errors import ModelError
from raggrid.space.settings import Models

# CPU flags of Linux for products of bfloat16 matrices; about twice the speed of float32 where they were measured.
FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
# GPUs from before NVIDIA's Ampere (compute capability 8.0), by the part of their names that tells them.
WITHOUT_BFLOAT16 = frozenset({"K80", "M40", "M60", "P4", "P40", "P100", "V100", "T4", "RTX6000", "TITAN"})
CPUINFO = Path("/proc/cpuinfo")
# Prompts are padded to a multiple of this many tokens: on CPUs, sums in bfloat16 are then the same whatever the batch.
ALIGNED = 16


def resolved(models: Models, device_types: Sequence[str]) -> Models:
    """The models with ``auto`` replaced, for devices named as in ``device_types``: cpu, or kinds of GPU.

    A study decides once, where it starts, so that all its trials compute alike; its workers' CPUs are taken to be
    like this machine's.
    """
    dtype, _ = dtype_of(models, device_types)
    gpu = "cpu" not in device_types
    attention = models.attention if models.attention != "auto" else "sdpa" if gpu else "eager"
    return models.model_copy(update={"dtype": dtype, "attention": attention})


def dtype_of(models: Models, device_types: Sequence[str]) -> tuple[str, str]:
    """(``float32`` or ``bfloat16``, the reason in a few words)."""
    if models.dtype != "auto":
        return models.dtype, "as set"
    if "cpu" in device_types:
        flags = _cpu_flags()
        found = next((flag for flag in FAST_BFLOAT16 if flag in flags), None)
        return ("bfloat16", f"this CPU has {found}") if found else ("float32", "this CPU has no fast bfloat16")
    old = [name for name in device_types if WITHOUT_BFLOAT16 & set(re.split(r"[^A-Za-z0-9]+", name.upper()))]
    return ("float32", f"{old[0]} has no bfloat16") if old else ("bfloat16", f"{', '.join(device_types)} has it")


def check_quantization(models: Models) -> None:
    """Raises ModelError where `quantized` could not load a model."""
    if models.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"models.quantization: got {models.quantization}, which needs bitsandbytes; it is not installed. "
            "pip install 'raggrid[qlora]' on every node."
        )


def _cpu_flags() -> frozenset[str]:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())
