"""The part of a trial's state that lies in shards: each worker writes its own, and any number of workers reads them.

By torch's distributed checkpoints, in safetensors. A folder of shards is complete once the state that names it is
there; until then the earlier state names another.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from raggrid.finetune.workers import Worker
from raggrid.store.files import Files
from raggrid.store.run_layout import state_folder

PREFIX = "shards-"


def save_shards(files: Files, trial_id: str, tensors: Mapping[str, Tensor], worker: Worker) -> str:
    """Keep sharded tensors; the name of their new folder, or "" where there are none. Every worker has to call it."""
    if not tensors:
        return ""
    name = worker.gather(f"{PREFIX}{uuid.uuid4().hex}")[0]
    with files.writing(f"{state_folder(trial_id)}/{name}/{worker.rank}") as own:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(own), save_distributed=True))
    worker.wait()
    return name


def load_shards(files: Files, trial_id: str, name: str, tensors: Mapping[str, Tensor], worker: Worker) -> None:
    """Put what was kept in folder ``name`` into tensors, whole ones or other shards, in place. Every worker has to
    call it."""
    with files.reading(f"{state_folder(trial_id)}/{name}") as kept, TemporaryDirectory() as together:
        for path in kept.glob("*/*.safetensors"):
            (Path(together) / path.name).symlink_to(path.resolve())
        alone = worker.world_size == 1
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(together), no_dist=alone)


def drop_shards(files: Files, trial_id: str, *, but: str) -> None:
    """Delete all folders of shards except ``but``, which the state names."""
    for name in files.names(state_folder(trial_id)):
        if name.startswith(PREFIX) and name != but:
            files.delete(f"{state_folder(trial_id)}/{name}")
