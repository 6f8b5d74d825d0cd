"""A Ray cluster, found or started, silent, and how many trials it holds at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raggrid.errors import StudyError
from raggrid.settings import Resources

# Ray reads these when it is imported or when a worker starts.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would copy its own state into the run directory again and again; the records are the truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}
# Reports are consumed one an interval: at Ray's default of 2 s a short trial would mostly wait.
TRAIN_SETTINGS = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}
# Library settings of every worker: no progress bars, no forks of the tokenizer's threads.
WORKER_SETTINGS = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
ACCELERATOR = "accelerator_type:"  # how Ray lists what kind of GPU its nodes have
KNOCK_SECONDS = 10.0  # a connection that takes longer is as good as none


@dataclass(frozen=True)
class Allocation:
    """What the study holds: ``slots`` trials at once, each on ``workers`` workers (0: on one, in its own process).

    ``cpus`` and ``gpus`` are a worker's; ``device_types`` are the kinds of GPU in the cluster by Ray's names, or cpu.
    """

    slots: int
    workers: int
    cpus: int
    gpus: float
    device_types: tuple[str, ...] = ("cpu",)

    @property
    def devices(self) -> int:
        """Devices held while all slots are busy."""
        return self.slots * max(1, self.workers)


@contextmanager
def connected(address: str | None, wanted: Resources) -> Iterator[Allocation]:
    """A Ray session for one study: the cluster at ``address``, or one started on this machine and ended after.

    Raises:
        StudyError: nothing answers at the address, or the cluster cannot hold a single trial.
    """
    settings = {**QUIET, **TRAIN_SETTINGS, **WORKER_SETTINGS}
    if address is not None and _has_token():
        # Without it Ray refuses a cluster that was started with the same token; one without tokens does not mind.
        settings["RAY_AUTH_MODE"] = "token"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    import ray

    _start(ray, address, wanted, settings)
    try:
        yield _allocation(ray.cluster_resources(), wanted)
    finally:
        ray.shutdown()


def _start(ray: Any, address: str | None, wanted: Resources, settings: dict[str, str]) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address is None:
        # A worker group that has to be killed leaves its placement group to a cleaner that asks the dashboard.
        ray.init(address="local", include_dashboard=wanted.workers > 0, **options)
        return
    try:
        _knock(address)
        ray.init(address=address, runtime_env={"env_vars": settings}, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"--address {address}: no Ray cluster answers there ({_short(error)}). "
            "Start one with 'ray start --head' or 'ray up cluster.yaml', or leave --address out; if it asks for a "
            "token, put that into RAY_AUTH_TOKEN."
        ) from None


def _has_token() -> bool:
    """Whether this user has a Ray authentication token, in a variable or in a file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").is_file()


def _knock(address: str) -> None:
    """Raises OSError at once where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _short(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]


def _allocation(total: dict[str, float], wanted: Resources) -> Allocation:
    gpus = wanted.gpus_per_worker if wanted.gpus_per_worker is not None else float(total.get("GPU", 0) > 0)
    workers = max(1, wanted.workers)
    fits = int(total.get("CPU", 0) // (wanted.cpus_per_worker * workers))
    if gpus:
        fits = min(fits, int(total.get("GPU", 0) / gpus // workers))
    if fits < 1:
        raise StudyError(
            f"resources: a trial asks for {workers} x ({wanted.cpus_per_worker} CPU, {gpus:g} GPU); the cluster has "
            f"{total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU. Lower resources.workers or add nodes."
        )
    slots = min(fits, wanted.max_concurrent_trials or fits)
    kinds = sorted(name.removeprefix(ACCELERATOR) for name in total if name.startswith(ACCELERATOR))
    return Allocation(
        slots, wanted.workers, wanted.cpus_per_worker, gpus, tuple(kinds or ["gpu"]) if gpus else ("cpu",)
    )
