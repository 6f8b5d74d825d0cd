"""What a study ran on, in environment.json: versions, hardware, digests of models, the shape of the data."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raggrid.data.checked import SIDES
from raggrid.data.folder import Dataset
from raggrid.evaluation.custom_metrics import custom_metrics
from raggrid.evaluation.metrics import constant_answer
from raggrid.evaluation.prompt_fit import PromptFit
from raggrid.identity import Contents, study_key
from raggrid.rag.precision import ALIGNED, check_quantization, dtype_of, resolved
from raggrid.rag.references import cached_snapshot, locate, model_files
from raggrid.space.search_space import SearchSpace

PACKAGES = ("raggrid", "ray", "torch", "transformers", "sentence-transformers", "peft", "faiss-cpu", "pyarrow", "numpy")
WEIGHTS = ("model.safetensors", "model.gguf")


def environment(
    space: SearchSpace, data: Dataset, device_types: Sequence[str] = ("cpu",), fit: PromptFit | None = None
) -> dict[str, Any]:
    """Plain data that says what the numbers of a study depend on beside its space.

    ``device_types``: the kinds of GPU that the study may run on, or cpu. ``precision`` is decided here, once for all
    trials. ``fit``: of the study's prompts.
    """
    check_quantization(space.models)
    models, contents = resolved(space.models, device_types), contents_of(space, data)
    custom = custom_metrics(space.custom_metrics)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "device_types": list(device_types),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "models": {side: _weights(contents.models.get(side, {})) for side in SIDES},
        **identity_record(space, contents, study_key(space, contents)),
        "precision": {
            "dtype": models.dtype,
            "attention": models.attention,
            "reason": dtype_of(space.models, device_types)[1],
            "padded_to": ALIGNED,
        },
        "prompt": asdict(fit) if fit else None,
        "data": {
            "content_hash": data.content_hash,
            "num_passages": len(data.passages),
            "num_questions": {split: len(rows) for split, rows in data.splits.items()},
            "labels": data.origin.to_json()["labels"] if data.origin else None,
            "num_unlabelled": {split: data.num_unlabelled(split) for split in data.splits},
            "constant_answer": {
                split: constant_answer(data.splits["train"], rows, custom)
                for split, rows in data.splits.items()
                if split != "train"
            },
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    """The commit of the checkout that raggrid runs from; None for an installed package."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def contents_of(space: SearchSpace, data: Dataset) -> Contents:
    """What the study's data and models contain. Raises `ModelError` for a reference that names nothing."""
    files = {side: model_files(getattr(space.models, side)) for side in SIDES}
    return Contents(data=data.content_hash, models={side: own for side, own in files.items() if own})


def identity_record(space: SearchSpace, contents: Contents, key: str) -> dict[str, Any]:
    """The part of an environment that says which study it is."""
    commits = {side: _commit_of(getattr(space.models, side)) for side in SIDES}
    return {"study_key": key, "model_files": contents.models, "model_commits": commits}


def recorded_contents(environment: Mapping[str, Any], space: SearchSpace) -> Contents:
    """What data and models contained when a study was begun; of a model of schema 0 only weights in a single file."""
    files = dict(environment.get("model_files", {}))
    for side, digest in environment.get("models", {}).items():
        if digest:
            single = getattr(space.models, side).endswith(".gguf")
            files.setdefault(side, {WEIGHTS[single]: digest})
    return Contents(data=environment.get("data", {}).get("content_hash"), models=files)


def _weights(files: Mapping[str, str]) -> str | None:
    """The digest of weights in a single file."""
    return next((files[name] for name in WEIGHTS if name in files), None)


def _commit_of(reference: str) -> str | None:
    """The commit of a hub model that is cached on this machine."""
    snapshot = None if locate(reference) else cached_snapshot(reference)
    return snapshot.name if snapshot else None
