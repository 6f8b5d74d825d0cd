"""What the chaos studies search: a small world, tiny models, trials of some seconds with a checkpoint every second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raggrid.demo import make_world, write_world
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space
from tests.tiny import make_tiny_models

RATES = {"embedder": [1e-4, 1e-3], "generator": [1e-4, 1e-3, 3e-3]}
STEPS = {"labels": 100, "rag": 300}


def make_inputs(folder: Path) -> None:
    """Write the world and the models; what is there stays."""
    world = make_world(0, num_entities=120)
    if not (folder / "world").exists():
        write_world(world, folder / "world")
    if not (folder / "models").exists():
        make_tiny_models(folder / "models", world)


def space_of(
    folder: Path,
    rungs: str,
    *,
    rates: Mapping[str, list[float]] = RATES,
    steps: Mapping[str, int] = STEPS,
) -> SearchSpace:
    """The space over what `make_inputs` has written; ``steps`` of each kind of phase."""
    return parse_space(
        {
            "name": "chaos",
            "data": {"folder": str(folder / "world"), "limits": {"train": 80, "validation": 12, "test": 8}},
            "models": {
                "embedder": str(folder / "models/embedder"),
                "generator": str(folder / "models/generator"),
                "dtype": "float32",
            },
            "strategies": ["embedder", "generator", "two_phase"],
            "learning_rates": dict(rates),
            "answer": {"top_k": 1, "max_new_tokens": 4},
            "prompt": {"passage_tokens": 60, "template": "{context}\n{question}\nA:"},
            "training": {
                "labels": {"steps": steps["labels"], "batch_size": 4},
                "rag": {"steps": steps["rag"], "batch_size": 2},
                "generator": "full",
                "validation_questions": 6,
            },
            "early_stopping": {"min_fraction": 0.125, "reduction_factor": 2, "rungs": rungs},
        }
    )
