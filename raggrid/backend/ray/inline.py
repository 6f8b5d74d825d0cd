"""A trial inline: its task runs in the trial's own process, which Tune reuses for the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray import tune

from raggrid.records import Report
from raggrid.study.tasks import from_config, to_metrics

if TYPE_CHECKING:
    import torch


def run_inline(config: dict[str, Any]) -> None:
    """One task; it reports to Tune. A stop leaves through ``tune.report``."""
    run_here(config, lambda report: tune.report(to_metrics(report)))


def run_here(config: dict[str, Any], report: Callable[[Report], None]) -> None:
    """One task in this process, on one device."""
    from raggrid.finetune.workers import Worker
    from raggrid.worker.run_task import run_task

    set_threads(config["cpus"])
    run_task(from_config(config), Worker(report=report, device=_device(config["gpus"])))


def _device(gpus: float) -> torch.device:
    import torch

    return torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")


def set_threads(cpus: int) -> None:
    """Let torch use the cores that the trial holds."""
    import torch

    torch.set_num_threads(max(1, cpus))
