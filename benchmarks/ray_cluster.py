"""A Ray cluster of several nodes on this machine, each of which can be drained, lost and replaced."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.ray_nodes import answers, drain, free_port, has_joined, lose, ray_node, workers

STORE = "--object-store-memory=200000000"  # bytes per node: each would take a third of the machine's memory
STILL_SECONDS = 1.5  # a node on which nothing works for so long has nothing to lose


@dataclass
class Cluster:
    """Nodes by name, all of which can be lost and replaced. ``hidden``: a folder that none of them sees."""

    address: str
    held: ExitStack
    hidden: Path | None
    cpus: int = 1
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: int = 0

    def add(self) -> None:
        """Start a node and wait until it has joined; another one where it ends before that."""
        name = self._start()
        while not has_joined(self.address, name):
            if self.nodes[name].poll() is not None:
                del self.nodes[name]
                name = self._start()
            time.sleep(0.1)

    def _start(self) -> str:
        name = f"node{self.started}"
        self.started += 1
        options = (f"--address={self.address}", f"--num-cpus={self.cpus}", f"--node-name={name}", STORE)
        self.nodes[name] = self.held.enter_context(ray_node(*options, without=self.hidden))
        return name

    def lose(self, name: str) -> None:
        """All processes of a node end at once, as when its machine does."""
        lose(self.nodes.pop(name))

    def drain(self, name: str, seconds: float) -> None:
        """Tell a node that its machine goes in so many seconds."""
        drain(self.address, name, seconds)

    def empties(self, name: str, seconds: float) -> bool:
        """Whether a node has nothing to lose within the time; returns as soon as that is so."""
        node, ends = self.nodes[name], time.monotonic() + seconds
        worked, still = working(node), time.monotonic()
        while time.monotonic() < ends:
            if working(node) or worked.keys() & workers(node).keys():
                still = time.monotonic()
            elif time.monotonic() - still > STILL_SECONDS:
                return True
            time.sleep(0.1)
        return False


@contextmanager
def cluster(count: int, hidden: Path | None = None, cpus: int = 1) -> Iterator[Cluster]:
    """A head without CPUs, and ``count`` nodes of ``cpus``; ``hidden``: a folder that none of these sees."""
    port = free_port()
    with ExitStack() as held:
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats",
                STORE)  # fmt: skip
        held.enter_context(ray_node(*head))
        while not answers(port):
            time.sleep(0.2)
        made = Cluster(f"127.0.0.1:{port}", held, hidden, cpus)
        for _ in range(count):
            made.add()
        yield made


def working(node: subprocess.Popen[bytes]) -> dict[int, str]:
    """What works on a node at this moment, by Ray's names; without what is kept for the next task."""
    return {pid: name for pid, name in workers(node).items() if "." in name}


def has_port(node: subprocess.Popen[bytes], port: int) -> bool:
    """Whether a worker of a node talks through a port of this machine."""
    for pid in workers(node):
        with suppress(psutil.Error):
            if any(each.laddr.port == port for each in psutil.Process(pid).net_connections("tcp")):
                return True
    return False
