"""What is known of the nodes of a cluster, and what was found wrong: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One node, as a process on it sees it.

    ``versions``: of Python and packages, None for one that is missing. ``devices``: the GPUs that torch sees, by name.
    ``driver``: NVIDIA's, "" where there is none. ``vllm``: the version of what only some studies need, ending in +cpu
    if it was built for CPUs. Memory and disk in bytes; the disk is that of temporary files.
    """

    versions: Mapping[str, str | None]
    cores: int
    memory_bytes: int
    free_memory_bytes: int
    free_disk_bytes: int
    devices: tuple[str, ...] = ()
    cuda: str | None = None
    driver: str = ""
    vllm: str | None = None


@dataclass(frozen=True, kw_only=True)
class StorageTest:
    """A run directory from one node: a file read that the driver wrote, another one written. ``problem``: why not."""

    read_seconds: float = 0.0
    write_seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class StepTest:
    """Training steps on one device: seconds per step once warm, how far the loss is from the CPU's."""

    device_type: str
    seconds: float = 0.0
    difference: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """A node and the outcome of its tests; ``machine`` is None where it did not answer, for the reason ``problem``.

    ``cpus`` and ``gpus`` are what Ray hands out there. ``clock_seconds``: how far its clock is ahead of the driver's,
    known to ``clock_error_seconds``.
    """

    name: str
    cpus: float
    gpus: float
    machine: Machine | None = None
    problem: str = ""
    clock_seconds: float = 0.0
    clock_error_seconds: float = 0.0
    storage: StorageTest | None = None
    step: StepTest | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong: an error keeps studies from working, a warning from working well. ``where``: nodes, or a run."""

    severity: Literal["error", "warning"]
    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}. {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The nodes of a cluster, the driver's machine first, and what is wrong."""

    address: str
    run: str | None
    nodes: tuple[NodeFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing keeps studies from working."""
        return not any(found.severity == "error" for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "healthy": self.is_healthy}
