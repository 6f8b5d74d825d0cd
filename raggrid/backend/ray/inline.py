"""A trial inline: its task runs in the trial's own process, which Tune reuses for the next one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from raggrid.backend.ray.draining import check_node_stays, node_leaves
from raggrid.records import Report, Status
from raggrid.study.tasks import from_config, to_metrics

if TYPE_CHECKING:
    import torch


NO_CUDA = (
    "{host}: trials hold a GPU of Ray's there, and torch sees no CUDA; install a torch build for CUDA and the driver, "
    "or set resources.gpus_per_worker to 0"
)


def run_inline(config: dict[str, Any]) -> None:
    """One task; it reports to Tune. A stop leaves through ``tune.report``."""
    run_here(config, lambda report: tune.report(to_metrics(report)))


def run_here(config: dict[str, Any], report: Callable[[Report], None]) -> None:
    """One task in this process, on one device. Raises `NodeLeaves` where the node is to go, to get no other."""
    check_node_stays()
    report(begun())  # before the imports: those of torch can end a process
    from raggrid.finetune.workers import Worker
    from raggrid.worker.run_task import run_task

    set_threads(config["cpus"])
    device = device_for(config["gpus"])
    if device is None:
        report(Report(status=Status.FAULTED, error=NO_CUDA.format(host=socket.gethostname())))
        return
    run_task(from_config(config), Worker(report=report, device=device, leaving=node_leaves))
    check_node_stays()


def begun() -> Report:
    """What a process says before anything else: that it has a task, and on which node."""
    return Report(status=Status.BEGUN, node=ray.get_runtime_context().get_node_id())


def device_for(gpus: float) -> torch.device | None:
    """What a trial computes on; None where it holds a GPU that torch cannot use: it would train on the CPU instead."""
    import torch

    if not gpus:
        return torch.device("cpu")
    return torch.device("cuda") if torch.cuda.is_available() else None


def set_threads(cpus: int) -> None:
    """Let torch use the cores that the trial holds."""
    import torch

    torch.set_num_threads(max(1, cpus))
