"""What a phase run trains, and how: the parameters that move, their optimizer, the schedule of its rate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor

from raggrid.identity import PhaseRun
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.retrievers import LiveRetriever
from raggrid.space.tuning import Training
from raggrid.strategies import Phase

Parameters = dict[str, torch.nn.Parameter]


def split_parameters(pipeline: Pipeline, phase: Phase) -> tuple[Parameters, Parameters]:
    """(trained, frozen) parameters by name; sets ``requires_grad`` to match."""
    every: Parameters = {}
    moving: set[str] = set()
    if isinstance(pipeline.retriever, LiveRetriever):
        every |= {f"embedder.{name}": parameter for name, parameter in pipeline.embedder.model.named_parameters()}
        moving |= {f"embedder.{name}" for name in pipeline.embedder.tunable() if phase.trains_embedder}
    if pipeline.generator is not None:
        own = {f"generator.{name}": parameter for name, parameter in pipeline.generator.model.named_parameters()}
        every |= own
        moving |= {name for name, p in own.items() if phase.trains_generator and p.requires_grad}
    for name, parameter in every.items():
        parameter.requires_grad_(name in moving)
    trained = {name: parameter for name, parameter in every.items() if name in moving}
    return trained, {name: parameter for name, parameter in every.items() if name not in moving}


def adamw(trained: Mapping[str, torch.nn.Parameter], run: PhaseRun, training: Training) -> torch.optim.AdamW:
    """AdamW with a group per model, its ``side``; ``full_lr`` is the rate of a group before the schedule."""
    groups = []
    for side, rate in (("embedder", run.embedder_lr), ("generator", run.generator_lr)):
        parameters = [parameter for name, parameter in trained.items() if name.startswith(f"{side}.")]
        if parameters:
            groups.append({"params": parameters, "lr": rate, "full_lr": rate, "side": side})
    # On CPUs torch's own choice passes over the moments several times, and takes five times as long.
    fused = all(p.device.type == "cpu" and not isinstance(p, DTensor) for p in trained.values())
    return torch.optim.AdamW(groups, weight_decay=training.weight_decay, fused=fused or None)


def schedule(step: int, max_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up, then linear decay to zero over the full planned length, so that runs compare at equal step."""
    warmup = round(max_steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    return (max_steps - step) / max(1, max_steps - warmup)
