"""What a phase run leaves on disk: its tuned models in their libraries' formats, and its state for a resume.

Everything is safetensors and JSON. A state is one file, written beside its place, forced to disk and renamed: at any
moment of a crash there is a whole one, the earlier or the new.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from raggrid.store.progress import STATE, TrainingProgress, progress_of

Parameters = Mapping[str, torch.nn.Parameter]


def save_state(
    folder: Path, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress
) -> None:
    """Keep trained parameters, optimizer moments and progress in ``folder``, replacing what was there."""
    tensors = {f"parameter/{name}": parameter.detach().contiguous() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{STATE}"
    stamped = asdict(replace(progress, saved_at=time.time()))
    save_file(tensors, part, metadata={"progress": json.dumps(stamped)})
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(folder / STATE)


def load_state(folder: Path, parameters: Parameters, optimizer: torch.optim.Optimizer) -> TrainingProgress | None:
    """Put a kept state back in place and return its progress; None if there is none."""
    file = folder / STATE
    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as state:
        tensors: dict[str, Tensor] = {key: state.get_tensor(key) for key in state.keys()}  # noqa: SIM118
        progress = progress_of(state)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, slot, name = key.split("/", 2)
            parameter = parameters[name]
            optimizer.state[parameter][slot] = value if slot == "step" else value.to(parameter.device)
    return progress
