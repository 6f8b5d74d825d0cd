"""What a phase run leaves on disk: its tuned models in their libraries' formats, and its state for a resume.

Everything is safetensors and JSON. A state is one file, and where weights are sharded a folder that it names: at any
moment of a crash there is a whole one, the earlier or the new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from raggrid.finetune.sharded_state import drop_shards, load_shards, save_shards
from raggrid.finetune.workers import Worker
from raggrid.rag.pipeline import Pipeline
from raggrid.records import TrainingProgress
from raggrid.store.files import Files
from raggrid.store.progress import progress_of
from raggrid.store.run_layout import state, tuned
from raggrid.strategies import Phase

Parameters = Mapping[str, torch.nn.Parameter]
ALONE = Worker(report=lambda _: None)


class StateSaver:
    """Keeps a trial's states, one after the other; the upload of one goes on while the trial trains.

    Of several workers the first one does; where weights are sharded, all of them have to take part in a `save`.
    """

    def __init__(self, files: Files, trial_id: str, worker: Worker = ALONE) -> None:
        self.files, self.trial_id, self.worker = files, trial_id, worker
        self._pool = ThreadPoolExecutor(1)
        self._upload: Future[None] | None = None

    def save(self, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the state as it is now, and begin to put it where it is kept. ``OSError``: the last one failed."""
        self.wait()
        tensors = _tensors(parameters, optimizer)
        sharded = {key: tensor for key, tensor in tensors.items() if isinstance(tensor, DTensor)}
        folder = save_shards(self.files, self.trial_id, sharded, self.worker)
        if not self.worker.is_first:
            return
        named = {"shards": json.dumps({"folder": folder, "tensors": list(sharded)})} if sharded else {}
        whole = {key: tensor for key, tensor in tensors.items() if key not in sharded}
        finish = _written(self.files, self.trial_id, whole, progress, named)
        self._upload = self._pool.submit(self._keep, finish, folder)

    def _keep(self, finish: Callable[[], None], folder: str) -> None:
        finish()
        drop_shards(self.files, self.trial_id, but=folder)

    def wait(self) -> None:
        """Return when the last state is kept. Raises ``OSError`` where that failed."""
        upload, self._upload = self._upload, None
        if upload:
            upload.result()


def save_state(
    files: Files, trial_id: str, parameters: Parameters, optimizer: torch.optim.Optimizer, progress: TrainingProgress
) -> None:
    """Keep a trial's trained parameters, optimizer moments and progress, replacing what was there."""
    _written(files, trial_id, _tensors(parameters, optimizer), progress, {})()


def _tensors(parameters: Parameters, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trained parameters and the optimizer's moments, by what a state calls them."""
    tensors = {f"parameter/{name}": parameter.detach().contiguous() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value).contiguous()
    return tensors


def _written(
    files: Files, trial_id: str, tensors: dict[str, Tensor], progress: TrainingProgress, metadata: Mapping[str, str]
) -> Callable[[], None]:
    """The state in a file of this machine, and what puts it where it is kept: no tensor is read after this returns."""
    stamped = asdict(replace(progress, saved_at=time.time()))
    with ExitStack() as writing:
        path = writing.enter_context(files.writing(state(trial_id)))
        save_file(tensors, path, metadata={"progress": json.dumps(stamped), **metadata})
        return writing.pop_all().close


def load_state(
    files: Files,
    trial_id: str,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    worker: Worker = ALONE,
) -> TrainingProgress | None:
    """Put a trial's kept state back in place and return its progress; None if there is none.

    Whoever saved it, whole or in shards, on however many workers.
    """
    if not files.exists(state(trial_id)):
        return None
    with files.reading(state(trial_id)) as path, safe_open(path, framework="pt") as kept:
        tensors: dict[str, Tensor] = {key: kept.get_tensor(key) for key in kept.keys()}  # noqa: SIM118
        metadata = kept.metadata()
    if "shards" in metadata:
        named = json.loads(metadata["shards"])
        sharded = {key: torch.zeros_like(parameters[_parameter_of(key)]).detach() for key in named["tensors"]}
        load_shards(files, trial_id, named["folder"], sharded, worker)
        tensors |= sharded
    _put(tensors, parameters, optimizer)
    return progress_of(metadata)


def _parameter_of(key: str) -> str:
    """The parameter that a tensor of a state belongs to."""
    return key.split("/", 2 if key.startswith("optimizer/") else 1)[-1]


def _put(tensors: Mapping[str, Tensor], parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_placed(tensors[f"parameter/{name}"], parameter))
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            slot, parameter = key.split("/", 2)[1], parameters[_parameter_of(key)]
            optimizer.state[parameter][slot] = value if slot == "step" else _placed(value, parameter)


def _placed(value: Tensor, like: Tensor) -> Tensor:
    """The part of a tensor that lies here, where ``like`` is sharded; on its device."""
    if isinstance(like, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return value.to(like.device)


def save_models(files: Files, trial_id: str, phase: Phase, pipeline: Pipeline, worker: Worker = ALONE) -> None:
    """Keep the side or sides that a phase tuned. Every worker has to call it: the first one writes what all have."""
    if phase.trains_embedder and worker.is_first:
        with files.writing(tuned(trial_id, "embedder")) as folder:
            pipeline.embedder.save(folder)
    if phase.trains_generator and worker.is_first:
        with files.writing(tuned(trial_id, "generator")) as folder:
            pipeline.required_generator.save(folder)
    elif phase.trains_generator and pipeline.required_generator.is_sharded:
        with TemporaryDirectory() as unused:  # the first one gathers; nothing lies here but settings
            pipeline.required_generator.save(Path(unused))
