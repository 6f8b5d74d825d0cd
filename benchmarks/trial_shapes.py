"""The number of devices per trial that `plan` takes, against studies that were simulated with each.

    .venv/bin/python -m benchmarks.trial_shapes

Planned: the wall time and device-hours of `plan`. Simulated: raggrid's own controller and scheduler on a virtual clock,
with made-up curves and the same unit costs; asynchronous stopping, the order of trials and waiting slots are those of a
search. Mean of `SEEDS` draws of the curves' noise. The time of splits is that of validation, which stands for test too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np

from raggrid.backend.simulator.curves import Curve, CurveKey, CurvePoint, Curves
from raggrid.backend.simulator.replay import Replay
from raggrid.data.checked import with_lengths
from raggrid.graph import study_graph
from raggrid.planning.cost_model import Setting, unit_costs
from raggrid.planning.devices import device_named
from raggrid.planning.estimate import Sizes
from raggrid.planning.planner import size_of
from raggrid.planning.shapes import Shape, shapes_of
from raggrid.planning.workload import assumed_workload
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import load_space
from raggrid.strategies import PHASES

SPACES = Path(__file__).parents[1] / "search_spaces"
FEW = ["learning_rates.embedder=[1e-6,1e-5,1e-4]", "learning_rates.generator=[1e-6,1e-5,1e-4]"]
CASES: tuple[tuple[str, str, list[str], str, int], ...] = (
    ("HotPotQA, MiniLM", "paper.yaml", [], "A10", 8),
    ("HotPotQA, MiniLM", "paper.yaml", [], "H100", 8),
    ("HotPotQA, MiniLM", "paper.yaml", [], "H100", 64),
    ("PopQA, MPNet", "paper/popqa-mpnet-mistral.yaml", [], "A10", 8),
    ("three rates", "paper.yaml", FEW, "H100", 8),
    ("three rates, no stopping", "paper.yaml", [*FEW, "early_stopping.enabled=false"], "H100", 8),
    ("two_phase alone", "paper.yaml", ["strategies=[two_phase]"], "A10", 4),
)
SEEDS = 5
BEST = {"embedder": 1e-6, "generator": 1e-5}  # as the paper found them, roughly
PER_DECADE, NOISE = 0.3, 0.1  # of the objective


def curves_of(space: SearchSpace, setting: Setting, sizes: Sizes, seed: int) -> Curves:
    """Every trial that the study may run; the best rates are `BEST`, give or take noise."""
    units, workers = unit_costs(setting), space.resources.workers_per_trial
    rng, by_key = np.random.default_rng(seed), dict[CurveKey, Curve]()
    for search in study_graph(space).searches.values():
        costs = units.of(search.name)
        for pair in _pairs(space, search.phase):
            level = _level(pair) + float(rng.normal(0.0, NOISE))
            points = tuple(
                CurvePoint(
                    step, level + math.exp(-3 * step / search.max_steps), workers * costs.train_seconds(step),
                    workers * costs.evaluate_seconds,
                )
                for step in (*rungs(search.max_steps, space.early_stopping), search.max_steps)
            )  # fmt: skip
            by_key[CurveKey(search.phase, search.loss, *pair, None)] = Curve(points)
    answer = units.answer_startup_seconds + sizes.questions["validation"] * units.answer_seconds / workers
    startup = max(costs.startup_seconds for costs in units.phases.values())
    return Curves(
        "made up", by_key, answer_seconds=answer, answer_startup_seconds=units.answer_startup_seconds,
        startup_seconds=startup, index_seconds=units.index_seconds / workers,
        num_questions=sizes.questions["validation"],
    )  # fmt: skip


def _pairs(space: SearchSpace, phase: str) -> Iterator[tuple[float | None, float | None]]:
    rates, about = space.learning_rates, PHASES[phase]
    sides = (
        rates.embedder if about.trains_embedder else (None,),
        rates.generator if about.trains_generator else (None,),
    )
    return itertools.product(*sides)  # type: ignore[arg-type,return-value]


def _level(pair: tuple[float | None, float | None]) -> float:
    return sum(
        PER_DECADE * abs(math.log10(rate / best)) for rate, best in zip(pair, BEST.values(), strict=True) if rate
    )


def simulated(space: SearchSpace, setting: Setting, sizes: Sizes, shape: Shape) -> tuple[float, float, float]:
    """Hours of wall time, device-hours of training, and trials that were stopped."""
    rows = []
    for seed in range(SEEDS):
        replay = Replay(space, curves_of(space, setting, sizes, seed), shape.trials_at_once)
        replay.run()
        trials = list(replay.state.trials.values())
        used = sum(row.train_device_seconds + row.evaluate_device_seconds for row in trials)
        rows.append((replay.clock.seconds / 3600, used / 3600, sum(row.status == "stopped" for row in trials)))
    wall, used, stopped = (fmean(column) for column in zip(*rows, strict=True))
    return wall, used, stopped


def in_shape(path: Path, settings: list[str], shape: Shape) -> SearchSpace:
    """The space with the settings of a shape."""
    again = str(shape.activation_checkpointing).lower()
    given = [f"resources.workers={shape.workers}", f"training.activation_checkpointing={again}"]
    given += [f"training.rag.micro_batch_size={shape.micro_batch_size}"] if shape.reduced else []
    return with_lengths(load_space(path, [*settings, *given]))


def setting_of(space: SearchSpace, device: str, passages: int | None = None) -> Setting:
    """A study of the paper's kind: weights of 4 bits, lengths that are assumed."""
    sizes = size_of(space.models.embedder), size_of(space.models.generator)
    return Setting(space, *sizes, assumed_workload(space, passages), device_named(device), 4)


def main() -> None:
    print("| study, devices | per trial | at once | plan h | simulated h | plan device-h | simulated | stopped | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, file, settings, device, count in CASES:
        space = with_lengths(load_space(SPACES / file, settings))
        setting = setting_of(space, device)
        asked = setting.workload.num_validation
        sizes = Sizes({"validation": asked, "test": asked}, count)
        for shape in shapes_of(setting, unit_costs(setting), sizes):
            if not shape.fits:
                print(f"| {name}, {count} {device} | {shape.workers} | - | | | | | | too large |")
                continue
            changed = in_shape(SPACES / file, settings, shape)
            wall, used, stopped = simulated(changed, setting_of(changed, device), sizes, shape)
            print(f"| {name}, {count} {device} | {shape.workers} | {shape.trials_at_once} | "
                  f"{shape.wall_seconds.expected / 3600:.1f} | {wall:.1f} | "
                  f"{shape.total_device_seconds.expected / 3600:.1f} | {used:.1f} | {stopped:.1f} | "
                  f"{'taken' if shape.taken else ''} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
