"""A Ray cluster, found or started, with quiet output, and how many trials fit on it at once."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raggrid.backend.ray.addresses import check_joinable, has_token
from raggrid.backend.ray.room import Allocation as Allocation
from raggrid.backend.ray.room import resources, wait_for_room
from raggrid.errors import StudyError
from raggrid.evaluation.custom_metrics import FOLDERS
from raggrid.space.settings import Resources
from raggrid.worker.process import WORKER_SETTINGS

# Ray reads these when it is imported or when a worker starts.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # A stopped trial may still have to write to a slow store; its process is only then given another task.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # Tune would copy its own state into the run directory again and again; the records are the truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}
# On one machine nothing is preempted, and each is a process more per worker group.
ALONE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_TRAIN_METRICS_ENABLED": "0"}
# One report is consumed per interval: at Ray's default of 2 s a short trial would mostly wait.
TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    # A group that waits for room looks so often whether it is to end instead, then waits on.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
}
NVIDIA = Path("/dev/nvidiactl")  # there where this machine has a GPU of NVIDIA's and its driver
ASK_SECONDS = 30.0
KNOCK_SECONDS = 10.0  # a connection that takes longer counts as failed


@contextmanager
def connected(
    address: str | None,
    wanted: Resources,
    say: Callable[[str], None] = lambda _: None,
    metric_folders: Sequence[str] = (),
) -> Iterator[Allocation]:
    """A Ray session for one study: the cluster at ``address``, or one started on this machine and ended afterwards.

    Args:
        address: of a cluster, in Ray's form.
        wanted: what a trial holds, and how long to wait until the cluster can hold it.
        say: called with a sentence if there is something to wait for.
        metric_folders: where workers look for the modules of the user's own metrics, where they are not installed.

    Raises:
        InputError: an address that no search can join a cluster by.
        StudyError: no cluster answers at the address, or not a single trial fits on it.
    """
    gpus = wanted.gpus_per_worker != 0 and NVIDIA.exists()
    groups = wanted.group_workers(on_cluster=address is not None, gpus=gpus) > 0
    with session(address, metric_folders, dashboard=groups):
        yield wait_for_room(wanted, say, on_cluster=address is not None)


@contextmanager
def session(address: str | None, metric_folders: Sequence[str] = (), *, dashboard: bool = False) -> Iterator[None]:
    """A quiet Ray session, on the cluster at ``address`` or on one of this machine, ended afterwards.

    Raises:
        InputError: an address that no search can join a cluster by.
        StudyError: no cluster answers there.
    """
    check_joinable(address)
    folders = {FOLDERS: os.pathsep.join(metric_folders)}
    settings = {**QUIET, **TRAIN_SETTINGS, **WORKER_SETTINGS, **folders, **(ALONE if address is None else {})}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.environ |= folders  # those of an earlier study in this process do not count
    if address is not None and has_token() and os.environ.get("RAY_AUTH_MODE") != "disabled":
        # Asked for "token" too, which Ray sets by itself. Not for the workers: they take the mode of their node.
        os.environ["RAY_AUTH_MODE"] = "disabled" if _lets_in_without_token(address) else "token"
    import ray

    with _own_lines_only():
        _start(ray, address, dashboard, settings)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _own_lines_only() -> Iterator[None]:
    """Without Ray's lines about processes and nodes that die: the study says itself what follows from it.

    An internal of Ray 2.60, which is pinned; without it there are more lines, and nothing else changes. Not logging to
    the driver, as Ray's option is called, leaves these lines.
    """
    from ray._private import worker

    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = True


def _start(ray: Any, address: str | None, dashboard: bool, settings: dict[str, str]) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address is None:
        # A worker group that has to be killed leaves its placement group to a cleaner that asks the dashboard.
        ray.init(address="local", include_dashboard=dashboard, **options)
        return
    try:
        _knock(address)
        ray.init(address=address, runtime_env={"env_vars": settings}, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"--address {address}: no Ray cluster answers there ({_short(error)}). "
            "Start one with 'ray start --head' or 'ray up cluster.yaml', or leave --address out; if it requires a "
            "token, set RAY_AUTH_TOKEN."
        ) from None


def _lets_in_without_token(address: str) -> bool:
    """Whether a cluster requires no token. Given one, it lets Ray connect but never starts a trial."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += [] if address == "auto" else ["--address", address]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(command, env=environment, capture_output=True, timeout=ASK_SECONDS, check=False)
        return asked.returncode == 0
    return False


def _knock(address: str) -> None:
    """Raises OSError at once if nothing listens; Ray itself would retry for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _short(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]


def held_by_trial(config: Mapping[str, Any]) -> Any:
    """What a trial's own process holds: one device inline, next to nothing beside a group."""
    from ray import tune

    if config["workers"] == 0:
        off = {"bundle_label_selector": [off_nodes(config["avoided"])]} if config["avoided"] else {}
        return tune.PlacementGroupFactory([resources(config["cpus"], config["gpus"])], **off)
    # The group has a placement group of its own; counted here too, the study would wait for itself.
    return tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])


def off_nodes(avoided: Sequence[str]) -> dict[str, str]:
    """A label selector in Ray's words that keeps off these nodes; empty where there are none."""
    return {"ray.io/node-id": f"!in({','.join(avoided)})"} if avoided else {}
