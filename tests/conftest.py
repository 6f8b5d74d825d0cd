"""Fixtures: a small world on disk, a tiny pair of models, and a search space over both."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from raggrid.demo import make_world, write_world
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space

SpaceMaker = Callable[..., SearchSpace]


@pytest.fixture(scope="session", autouse=True)
def nothing_is_forced_to_disk() -> Iterator[None]:
    """Milliseconds per file, and a study played in a test writes hundreds. Processes of their own still do."""
    with patch.object(os, "fsync", lambda _: None):
        yield


@pytest.fixture(scope="module", autouse=True)
def what_is_imported_is_no_garbage() -> None:
    """Every task of a worker collects garbage three times, each time through half a million objects of libraries."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small fictional world as files."""
    folder = tmp_path_factory.mktemp("world")
    write_world(make_world(0, num_entities=120), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(embedder, generator) folders of random-weight models of about 0.15 M parameters each."""
    import torch

    from tests.tiny import make_tiny_models

    torch.set_num_threads(1)
    return make_tiny_models(tmp_path_factory.mktemp("tiny"), make_world(0, num_entities=120))


@pytest.fixture(scope="session")
def make_space(world_folder: Path, tiny_models: tuple[Path, Path]) -> SpaceMaker:
    """Builds a quick space over the tiny world; keyword arguments replace or extend its sections."""
    return partial(tiny_space, world_folder, tiny_models)


def tiny_space(world_folder: Path, models: tuple[Path, Path], /, **changes: Any) -> SearchSpace:
    """A space whose phases train for six steps of two or four questions."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "data": {"folder": str(world_folder), "limits": {"train": 80, "validation": 12, "test": 8}},
        # float32, whatever this machine does well: the numbers are then the same on another.
        "models": {"embedder": str(models[0]), "generator": str(models[1]), "dtype": "float32"},
        "learning_rates": {"embedder": [1e-4, 1e-3], "generator": [1e-4, 3e-3]},
        "retrieval": {"top_k": 2},
        "answer": {"top_k": 1, "max_new_tokens": 4},
        "prompt": {"passage_tokens": 100, "template": "{context}\n{question}\nA:"},
        "training": {
            "labels": {"steps": 6, "batch_size": 4},
            "rag": {"steps": 6, "batch_size": 2},
            "generator": "full",
            "validation_questions": 6,
        },
        # On clusters too: a worker group takes ten seconds to start.
        "resources": {"workers": 0},
    }
    for section, value in changes.items():
        merged = isinstance(value, dict) and isinstance(raw.get(section), dict)
        raw[section] = {**raw[section], **value} if merged else value
    return parse_space(raw)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that the processes of `make test` end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
