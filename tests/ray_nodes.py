"""Nodes of a Ray cluster on this machine."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated import autoscaler_pb2

BIN = Path(sys.executable).parent
OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of a node that work for no study."""


@contextmanager
def ray_node(*options: str, without: Path | None = None, token: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A node of a Ray cluster on this machine, ended by its process group; ``without``: a folder it has not;
    ``token``: what it asks for and offers."""
    command = [str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *options]
    if without:  # a file system of its own there, as on another machine
        hidden = f"mount -t tmpfs none {shlex.quote(str(without))} && exec {shlex.join(command)}"
        command = ["unshare", "--mount", "bash", "-c", hidden]
    quiet = subprocess.DEVNULL
    # By itself, with a token on this machine, a head would ask for it, and a node would not offer it.
    asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    environment = {**os.environ, **asked}
    node = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, env=environment)
    try:
        yield node
    finally:
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGTERM)
        try:
            node.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(20)


def lose(node: subprocess.Popen[bytes]) -> None:
    """All processes of a node end at once, as when its machine does."""
    for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    node.wait(20)


def has_joined(address: str, name: str) -> bool:
    """Whether a node is part of the cluster. Several that start at once on one machine take each other's ports."""
    gcs = ray._raylet.GcsClient(address=address)
    return any(node.node_name == name for node in gcs.get_all_node_info().values())


def drain(address: str, name: str, seconds: float) -> None:
    """Tell a node by its name that its machine goes in so many seconds, as a cloud does with a spot machine."""
    gcs = ray._raylet.GcsClient(address=address)
    node_id = next(key.hex() for key, node in gcs.get_all_node_info().items() if node.node_name == name)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = gcs.drain_node(node_id, reason, "spot", int(1000 * (time.time() + seconds)))
    assert accepted, why


def busy(node: subprocess.Popen[bytes]) -> list[str]:
    """The processes of a node that do a task or are an actor, by Ray's names for them."""
    return list(workers(node).values())


def workers(node: subprocess.Popen[bytes]) -> dict[int, str]:
    """The same by the numbers of the processes; none where the node is gone."""
    names: dict[int, str] = {}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(node.pid).children(recursive=True):
            with suppress(psutil.Error):
                names[process.pid] = "".join(process.cmdline()[:1])
    return {pid: name for pid, name in names.items() if name.startswith("ray::") and not name.startswith(OWN)}


def asked_for(address: str) -> list[str]:
    """What a cluster was asked for and does not have: what would let an autoscaler add nodes."""
    state = get_cluster_resource_state(ray._raylet.GcsClient(address=address))
    asked = (state.pending_resource_requests, state.pending_gang_resource_requests, state.cluster_resource_constraints)
    return [str(each) for kind in asked for each in kind]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
