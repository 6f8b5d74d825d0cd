"""What the driver spends on a trial: the state, the scheduler and the controller, as a study grows.

    python -m benchmarks.scheduler

Studies of about 1,250, 2,500 and 5,000 simulated trials, which grow by their learning rates or by their seeds: five
phases in six searches, made-up smooth curves with noise, eight trials at once on a virtual clock. Prints CPU
milliseconds a trial of the driver's own parts (median of three), with records in memory and on disk, and the ratio to
the smallest study. What stands in for workers is not counted. Optuna's proposals are not part of it.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from raggrid.backend.simulator.curves import Curve, CurvePoint, Curves
from raggrid.backend.simulator.replay import Replay, Step
from raggrid.identity import PhaseRun
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space
from raggrid.store.run_directory import RunDirectory
from raggrid.study.tasks import Task

STEPS, SLOTS, REPEATS = 243, 8, 3
# Rates of each side; a study of n has 2 n + n (closed book) + n + 2 x (n_e x n_g) trials.
SIZES = ((20, 28), (29, 40), (42, 56))
FEW, SEEDS = (3, 4), (33, 66, 132)
STRATEGIES = ("baseline", "embedder", "generator", "independent", "two_phase", "joint", "closed_book")


class MadeUp(Curves):
    """A smooth curve for every phase run: best at 1e-5 and 3e-4, falling with the steps, with a little noise."""

    def of(self, run: PhaseRun) -> Curve:
        rng = Random(repr(run))
        level = 1.0
        for rate, best in ((run.embedder_lr, 1e-5), (run.generator_lr, 3e-4)):
            level += 0.3 * math.log10(rate / best) ** 2 if rate else 0.0
        steps = (9, 27, 81, STEPS)
        points = (CurvePoint(n, level + 2 * math.exp(-n / 60) + rng.gauss(0, 0.02), 1.0 * n, 2.0) for n in steps)
        return Curve(tuple(points), None, {"f1": rng.random(), "exact_match": rng.random()})


def rates(count: int, low: float, high: float) -> tuple[float, ...]:
    """``count`` rates, evenly apart in the logarithm."""
    ratio = (high / low) ** (1 / (count - 1))
    return tuple(low * ratio**place for place in range(count))


def made_space(sides: tuple[int, int], rungs: str, seeds: int = 1) -> SearchSpace:
    """A space with the full joint grid of both losses over so many rates a side, for each of so many seeds."""
    return parse_space(
        {
            "name": "many",
            "data": {"folder": "none"},
            "models": {"embedder": "none", "generator": "none"},
            "strategies": STRATEGIES,
            "learning_rates": {
                "embedder": rates(sides[0], 1e-7, 1e-3),
                "generator": rates(sides[1], 1e-6, 1e-2),
                "joint": "grid",
            },
            "training": {"rag": {"steps": STEPS}, "labels": {"steps": STEPS}},
            "early_stopping": {"min_fraction": 1 / 27, "rungs": rungs},
            "seeds": list(range(seeds)),
            "seeds_for": "grid",
        }
    )


class Metered:
    """Adds up the CPU seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` with its CPU time counted."""

        def counted(*values: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return call(*values, **named)
            finally:
                self.seconds += time.process_time() - started

        return counted


def milliseconds_a_trial(space: SearchSpace, run: Path | None) -> tuple[int, float]:
    """(trials, CPU ms a trial) of one study; with ``run``, the driver's records go to disk there."""
    replay, meter = Replay(space, MadeUp("made up", {}), SLOTS), Metered()
    if run:
        replay.controller.records = RunDirectory(run, delay_seconds=0.5)
        replay.controller.open_books(0.0, SLOTS)
    for owner, names in (
        (replay.controller, ("take", "reported", "finished", "keep_up", "close_books")),
        (replay.scheduler, ("begin", "judge")),
    ):
        for name in names:
            setattr(owner, name, meter.wrap(getattr(owner, name)))
    deliver = replay._deliver

    def delivered(task: Task, step: Step) -> None:
        deliver(task, step)
        replay.controller.keep_up()

    setattr(replay, "_deliver", delivered)  # noqa: B010
    replay.run()
    replay.controller.close_books()
    trials = len(replay.state.trials)
    return trials, 1000 * meter.seconds / trials


def measured(space: SearchSpace, *, disk: bool) -> tuple[int, float]:
    """(trials, median ms a trial)."""
    results = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            results.append(milliseconds_a_trial(space, Path(folder) if disk else None))
    return results[0][0], statistics.median(ms for _, ms in results)


def table(title: str, columns: dict[str, tuple[list[SearchSpace], bool]]) -> None:
    """One line a size: trials, then ms a trial and the ratio to the smallest study of each column."""
    print(f"{title}\n{'trials':>8}" + "".join(f"{name:>24}" for name in columns))
    base: dict[str, float] = {}
    for place in range(len(SIZES)):
        cells, trials = "", 0
        for name, (spaces, disk) in columns.items():
            trials, ms = measured(spaces[place], disk=disk)
            cells += f"{f'{ms:.2f} ms  x {ms / base.setdefault(name, ms):.2f}':>24}"
        print(f"{trials:>8}{cells}", flush=True)


def main() -> None:
    """Measure all sizes."""
    print("CPU ms of driver time a trial, and the ratio to the smallest study")
    kinds = ("asynchronous", "synchronous")
    by_rates = {rungs: [made_space(size, rungs) for size in SIZES] for rungs in kinds}
    by_seeds = {rungs: [made_space(FEW, rungs, count) for count in SEEDS] for rungs in kinds}
    for title, spaces in (("More learning rates", by_rates), ("More seeds, each with a grid of its own", by_seeds)):
        table(
            title,
            {
                "in memory": (spaces["asynchronous"], False),
                "records on disk": (spaces["asynchronous"], True),
                "synchronous, in memory": (spaces["synchronous"], False),
                "synchronous, on disk": (spaces["synchronous"], True),
            },
        )


if __name__ == "__main__":
    main()
