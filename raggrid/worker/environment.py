"""What a study ran on: versions, hardware, models' digests, the data's shape. For environment.json."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raggrid.data.folder import Dataset
from raggrid.evaluation.metrics import constant_answer
from raggrid.evaluation.prompt_fit import PromptFit
from raggrid.rag.precision import dtype_of, resolved
from raggrid.rag.references import locate, sha256, weights_file
from raggrid.space.search_space import SearchSpace

PACKAGES = ("raggrid", "ray", "torch", "transformers", "sentence-transformers", "peft", "faiss-cpu", "pyarrow", "numpy")


def environment(
    space: SearchSpace, data: Dataset, device_types: Sequence[str] = ("cpu",), fit: PromptFit | None = None
) -> dict[str, Any]:
    """Plain data that says what the numbers of a study depend on beside its space.

    ``device_types``: the kinds of GPU that the study may run on, or cpu. ``precision`` is decided here, once for all
    trials. ``fit``: of the study's prompts.
    """
    models = resolved(space.models, device_types)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "device_types": list(device_types),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "models": {name: _digest(getattr(space.models, name)) for name in ("embedder", "generator")},
        "precision": {
            "dtype": models.dtype,
            "attention": models.attention,
            "reason": dtype_of(space.models, device_types)[1],
        },
        "prompt": asdict(fit) if fit else None,
        "data": {
            "content_hash": data.content_hash,
            "num_passages": len(data.passages),
            "num_questions": {split: len(rows) for split, rows in data.splits.items()},
            "num_unlabelled": {split: data.num_unlabelled(split) for split in data.splits},
            "constant_answer": {
                split: constant_answer(data.splits["train"], rows)
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


def _digest(reference: str) -> str | None:
    path = locate(reference)
    file = weights_file(path) if path else None
    return sha256(file) if file else None
