"""A world and models small enough that whole studies fit into minutes, and real enough that tuning helps.

The plain world of the tests (who lives where, one sentence each) and the tiny models. The generator first learns for
half a minute to copy an answer from its passage, as a language model has before anybody fine-tunes it; the study then
tunes it on people, towns and a prompt that it has not seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from raggrid.demo import write_world
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space
from tests.tiny import make_tiny_models, plain_world
from tests.trials import done, phase_task, prepared_run

EMBEDDER_RATES = [1e-5, 1e-4, 1e-3, 3e-3, 1e-2]
GENERATOR_RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
LEARNT = "{context}\n{question}\nA:"  # the prompt that the generator grows up with
ASKED = "Q: {question}\n{context}\n{question}\nA:"  # the one that the study tunes it for: F1 0.4 before, 0.9 after


def prepared(folder: Path, *, seed: int, num_people: int = 3000) -> dict[str, Any]:
    """Write a world, and models that can read, into ``folder``; returns the sections of a space that name them."""
    torch.set_num_threads(1)
    world = plain_world(num_people, seed)
    write_world(world, folder / "childhood")
    embedder, generator = make_tiny_models(folder / "models", world, seed)
    childhood = {"data": {"folder": str(folder / "childhood"), "limits": {"validation": 30}},
                 "models": {"embedder": str(embedder), "generator": str(generator)}}  # fmt: skip
    reading = {"rag": {"steps": 800, "batch_size": 24}, "validation_questions": 30}
    space = study(childhood, seed=seed, training=reading, retrieval={"top_k": 1}, prompt={"template": LEARNT},
                  strategies=["generator"])  # fmt: skip
    run = prepared_run(folder / "school", space)
    done(phase_task("generator_rag", lr=5e-3, steps=800, key="reader"), run)
    shutil.copytree(run / "checkpoints" / "reader" / "generator", folder / "models" / "reader")
    write_world(plain_world(1500, seed + 1000), folder / "world")
    return {
        "data": {"folder": str(folder / "world"), "limits": {"validation": 60, "test": 60}},
        "models": {"embedder": str(embedder), "generator": str(folder / "models" / "reader")},
    }


def study(places: Mapping[str, Any], *, seed: int, **changes: Any) -> SearchSpace:
    """A study of all strategies with five learning rates a side."""
    raw: dict[str, Any] = {
        "name": "benchmark",
        **places,
        "learning_rates": {"embedder": EMBEDDER_RATES, "generator": GENERATOR_RATES, "joint": "separable"},
        "retrieval": {"top_k": 2},
        "answer": {"top_k": 1, "max_new_tokens": 8},
        "prompt": {"passage_tokens": 32, "template": ASKED},
        "training": {
            "labels": {"steps": 45, "batch_size": 8},
            "rag": {"steps": 90, "batch_size": 8},
            "generator": "full",
            "context_loss": 1.0,
            "validation_questions": 30,
        },
        "early_stopping": {"reduction_factor": 3, "min_fraction": 0.112},
        "seeds": [seed],
    }
    for section, value in changes.items():
        merged = isinstance(value, dict) and isinstance(raw.get(section), dict)
        raw[section] = {**raw[section], **value} if merged else value
    return parse_space(raw)
