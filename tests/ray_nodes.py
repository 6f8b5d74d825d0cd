"""Nodes of a Ray cluster on this machine."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent


@contextmanager
def ray_node(*options: str, without: Path | None = None, token: str | None = None) -> Iterator[None]:
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
        yield
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        try:
            node.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(20)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
