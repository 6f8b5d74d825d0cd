"""What a study of all strategies costs: separate full grids, the paper's practice, and raggrid.

    python -m benchmarks.study_cost [--seeds 0 1 2]

Five learning rates a side, tiny models on a plain world. All in training device-seconds:
  grids    every strategy searched alone, joint over 5 x 5 pairs under both losses, nothing stopped early
  paper    every strategy searched alone, joint at the pair that two-phase found, nothing stopped early
  raggrid  one study: equal trials shared, early stopping, joint around two-phase's pair (separable)
Each is given as measured, and "even": with the same seconds a step for equal phases of one seed, so that work beside
the benchmark, which slows one study and not the other, does not count.

The first two are added up from one study without early stopping, whose trials are the ones that they would run; the
third is run by itself, with asynchronous and with synchronous rungs. F1 is the recommended strategy's on test. Three to
five minutes a seed on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.worlds import prepared, study
from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.graph import study_graph
from raggrid.records import PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import read


@dataclass(frozen=True)
class Row:
    """Training device-seconds of the three ways, and the test F1 that the first and the last recommend."""

    seed: int
    grids: float
    paper: float
    raggrid: float
    grids_f1: float
    raggrid_f1: float
    joint_separable_f1: float
    joint_grid_f1: float
    synchronous: float
    even_grids: float
    even_paper: float
    even_raggrid: float
    even_synchronous: float
    wall_seconds: float
    synchronous_wall_seconds: float


Price = Callable[[TrialRecord], float]


def measured(row: TrialRecord) -> float:
    """Training device-seconds as they were."""
    return row.train_device_seconds


def even(rows: Iterable[TrialRecord]) -> Price:
    """Training device-seconds at the mean seconds a step of a trial's phase and loss over all of ``rows``."""
    seconds, steps = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        seconds[row.phase, row.loss] += row.train_device_seconds  # type: ignore[assignment]
        steps[row.phase, row.loss] += row.steps
    return lambda row: row.steps * seconds[row.phase, row.loss] / steps[row.phase, row.loss]


def trained(rows: Iterable[TrialRecord], price: Price) -> float:
    """Training device-seconds."""
    return sum(price(row) for row in rows)


def separate(run: Path, space: SearchSpace, price: Price) -> float:
    """Every strategy alone: the trials of all searches that it needs, summed over strategies (and joint's losses)."""
    graph = study_graph(space)
    trials = read(run, TrialRecord)
    total = 0.0
    for plan in graph.pipelines:
        for name in graph.needed_by(plan):
            search = graph.searches[name]
            total += trained((row for row in trials if (row.phase, row.loss) == (search.phase, search.loss)), price)
    return total


def papers_practice(run: Path, space: SearchSpace, price: Price) -> float:
    """As `separate`, with joint at the pair of two-phase: its own two searches, and one joint trial a loss."""
    pair = next(row for row in read(run, PipelineRecord) if row.strategy == "two_phase" and row.split == "test")
    rates = space.learning_rates.model_copy(update={"joint": "two_phase"})
    graph = study_graph(space.model_copy(update={"learning_rates": rates}))
    trials = read(run, TrialRecord)
    total = 0.0
    for plan in graph.pipelines:
        for name in graph.needed_by(plan):
            search = graph.searches[name]
            own = [row for row in trials if (row.phase, row.loss) == (search.phase, search.loss)]
            if search.phase == "joint_rag":
                chosen = (pair.embedder_lr, pair.generator_lr)
                own = [row for row in own if (row.embedder_lr, row.generator_lr) == chosen]
            total += trained(own, price)
    return total


def joint_f1(run: Path) -> float:
    """The mean test F1 of joint under its losses."""
    rows = [row.f1 for row in read(run, PipelineRecord) if row.strategy == "joint" and row.split == "test"]
    return statistics.fmean(rows)


def recommended_f1(run: Path) -> float:
    """Test F1 of what `recommend` names."""
    result = recommend([run])
    chosen = result.recommended
    assert chosen is not None
    row = next(row for row in result.table if (row.strategy, row.loss) == (chosen.strategy, chosen.loss))
    return row.f1 or 0.0


def measure(seed: int, folder: Path) -> Row:
    """Both studies of one seed."""
    places = prepared(folder, seed=seed)
    full = study(places, seed=seed, learning_rates={"joint": "grid"}, early_stopping={"enabled": False})
    lean = study(places, seed=seed)
    wall = timed(lean, folder / "lean")
    synchronous_wall = timed(study(places, seed=seed, early_stopping={"rungs": "synchronous"}), folder / "synchronous")
    search(full, folder / "full")
    rows = {name: read(folder / name, TrialRecord) for name in ("full", "lean", "synchronous")}
    steady = even([row for name in rows for row in rows[name]])
    return Row(
        seed,
        separate(folder / "full", full, measured),
        papers_practice(folder / "full", full, measured),
        trained(rows["lean"], measured),
        recommended_f1(folder / "full"),
        recommended_f1(folder / "lean"),
        joint_f1(folder / "lean"),
        joint_f1(folder / "full"),
        trained(rows["synchronous"], measured),
        separate(folder / "full", full, steady),
        papers_practice(folder / "full", full, steady),
        trained(rows["lean"], steady),
        trained(rows["synchronous"], steady),
        wall,
        synchronous_wall,
    )


def timed(space: SearchSpace, run: Path) -> float:
    """Run a study; its wall seconds."""
    began = time.monotonic()
    search(space, run)
    return time.monotonic() - began


def main() -> None:
    """Measure, and print one line a seed and the medians."""
    parser = argparse.ArgumentParser(description="What a study of all strategies costs.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    rows = []
    for seed in parser.parse_args().seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(seed, Path(folder)))
    print(
        "seed    grids    paper  raggrid  raggrid/grids  raggrid/paper  F1 grids  F1 raggrid  joint F1 grid  separable"
    )
    for row in rows:
        scores = (row.grids_f1, row.raggrid_f1, row.joint_grid_f1, row.joint_separable_f1)
        f1 = "{:9.1f} {:11.1f} {:14.1f} {:10.1f}".format(*(100 * score for score in scores))
        print(f"{row.seed:4} {_ratios(row.grids, row.paper, row.raggrid)} {f1}")
        print(f"even {_ratios(row.even_grids, row.even_paper, row.even_raggrid)}")
    for row in rows:
        print(
            f"{row.seed:4} synchronous rungs: {row.even_synchronous / row.even_raggrid:.2f} x the training of "
            f"asynchronous ones (even), {row.synchronous_wall_seconds / row.wall_seconds:.2f} x the wall time "
            f"({row.wall_seconds:.0f} s)"
        )
    print(f"median, even: raggrid/grids {statistics.median(row.even_raggrid / row.even_grids for row in rows):.3f} "
          f"(at most 0.2), raggrid/paper {statistics.median(row.even_raggrid / row.even_paper for row in rows):.3f} "
          "(at most 0.45)")  # fmt: skip


def _ratios(grids: float, paper: float, raggrid: float) -> str:
    return f"{grids:8.1f} {paper:8.1f} {raggrid:8.1f} {raggrid / grids:14.3f} {raggrid / paper:14.3f}"


if __name__ == "__main__":
    main()
