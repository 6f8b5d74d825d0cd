"""Tables of made-up learning curves, for simulations."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raggrid.backend.simulator.curves import Curves
from raggrid.backend.simulator.read_curves import read_curves
from raggrid.space.search_space import SearchSpace
from tests.records import made_space

RATES = {"embedder": [1e-6, 1e-5, 1e-4], "generator": [1e-4, 3e-4, 1e-3]}
# The objective of a generator rate: 3e-4 is best, and its curve falls by 0.1 at the end.
LEVEL = {1e-4: 3.0, 3e-4: 1.0, 1e-3: 2.0, 1e-6: 3.0, 1e-5: 1.0}
STEPS = (3, 9)  # a rung, and the end


def space(**changes: Any) -> SearchSpace:
    training = {"rag": {"steps": 9}, "labels": {"steps": 9}}
    return made_space(**{"learning_rates": RATES, "training": training, **changes})


def level(*rates: float | None) -> float:
    return sum(LEVEL.get(rate, 3.0) for rate in rates if rate)


def rows(*phases: str, steps: Sequence[int] = STEPS, **more: Any) -> list[dict[str, Any]]:
    """A table of curves: 2 device-seconds a step for a trained generator, 1 for an embedder alone."""
    made = []
    for phase in phases:
        sides = [RATES["embedder"] if phase in ("embedder_labels", "embedder_rag", "joint_rag") else [None],
                 RATES["generator"] if phase in ("generator_rag", "joint_rag") else [None]]  # fmt: skip
        losses = {"embedder_labels": ["mnr"], "joint_rag": ["rag_token", "rag_sequence"]}.get(phase, ["rag_token"])
        for loss in losses:
            for pair in [(e, g) for e in sides[0] for g in sides[1]]:
                made += [
                    {"phase": phase, "loss": loss, "embedder_lr": pair[0], "generator_lr": pair[1], "step": step,
                     "objective": level(*pair) - 0.1 * (step == 9),
                     "device_seconds": step * (2.0 if pair[1] else 1.0), **more}
                    for step in steps
                ]  # fmt: skip
    return made


def written(path: Path, table: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def curves(tmp_path: Path, table: Sequence[Mapping[str, Any]]) -> Curves:
    return read_curves(written(tmp_path / "curves.csv", table))
