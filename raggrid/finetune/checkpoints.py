"""What a phase run leaves on disk: its tuned models in their libraries' formats, and its state for a resume.

Everything is safetensors and JSON. A state is one file: at any moment of a crash there is a whole one, the earlier or
the new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from raggrid.rag.pipeline import Pipeline
from raggrid.records import TrainingProgress
from raggrid.store.files import Files
from raggrid.store.progress import progress_of
from raggrid.store.run_layout import state, tuned
from raggrid.strategies import Phase

Parameters = Mapping[str, torch.nn.Parameter]


class StateSaver:
    """Keeps a trial's states, one after the other; the upload of one goes on while the trial trains."""

    def __init__(self, files: Files, trial_id: str) -> None:
        self.files, self.trial_id = files, trial_id
        self._pool = ThreadPoolExecutor(1)
        self._upload: Future[None] | None = None

    def save(self, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the state as it is now, and begin to put it where it is kept. ``OSError``: the last one failed."""
        self.wait()
        finish = _written(self.files, self.trial_id, parameters, optimizer, progress)
        self._upload = self._pool.submit(finish)

    def wait(self) -> None:
        """Return when the last state is kept. Raises ``OSError`` where that failed."""
        upload, self._upload = self._upload, None
        if upload:
            upload.result()


def save_state(
    files: Files, trial_id: str, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress
) -> None:
    """Keep a trial's trained parameters, optimizer moments and progress, replacing what was there."""
    _written(files, trial_id, parameters, optimizer, progress)()


def _written(
    files: Files, trial_id: str, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress
) -> Callable[[], None]:
    """The state in a file of this machine, and what puts it where it is kept: no tensor is read after this returns."""
    tensors = {f"parameter/{name}": parameter.detach().contiguous() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value).contiguous()
    stamped = asdict(replace(progress, saved_at=time.time()))
    with ExitStack() as writing:
        path = writing.enter_context(files.writing(state(trial_id)))
        save_file(tensors, path, metadata={"progress": json.dumps(stamped)})
        return writing.pop_all().close


def load_state(
    files: Files, trial_id: str, parameters: Parameters, optimizer: torch.optim.Optimizer
) -> TrainingProgress | None:
    """Put a trial's kept state back in place and return its progress; None if there is none."""
    if not files.exists(state(trial_id)):
        return None
    with files.reading(state(trial_id)) as path, safe_open(path, framework="pt") as kept:
        tensors: dict[str, Tensor] = {key: kept.get_tensor(key) for key in kept.keys()}  # noqa: SIM118
        progress = progress_of(kept.metadata())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, slot, name = key.split("/", 2)
            parameter = parameters[name]
            optimizer.state[parameter][slot] = value if slot == "step" else value.to(parameter.device)
    return progress


def save_models(files: Files, trial_id: str, phase: Phase, pipeline: Pipeline) -> None:
    """Keep the side or sides that a phase tuned."""
    if phase.trains_embedder:
        with files.writing(tuned(trial_id, "embedder")) as folder:
            pipeline.embedder.save(folder)
    if phase.trains_generator:
        with files.writing(tuned(trial_id, "generator")) as folder:
            pipeline.required_generator.save(folder)
