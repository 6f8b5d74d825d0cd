"""Studies that are killed at random moments until they end, against undisturbed ones.

    python -m benchmarks.chaos [--studies 20] [--seed 0]
    python -m benchmarks.chaos --nodes 4 [--studies 20] [--first 0] [--folder FOLDER]
                                                           on a cluster that loses nodes: see chaos_nodes.py

Each study (tiny models) runs in processes of its own. At random moments after its work has begun, further and further
apart, the driver or a working process gets SIGKILL; a killed driver is started again with the same command. Half of the
studies decide rungs synchronously: all their records must equal the undisturbed study's, cost aside. The others decide
asynchronously: their trials' curves must agree with it as far as both go.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import chaos_nodes
from benchmarks.chaos_space import make_inputs, space_of
from raggrid.backend.ray.search import search
from raggrid.records import PipelineRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import read
from tests.processes import charged, command, curves, kill, kill_driver, lingering, results, start, trainers

FIRST_SECONDS, GROWTH = 6.0, 1.5  # work between kills: random up to this, which grows so that studies can end


@dataclass(frozen=True)
class Result:
    """One study's end."""

    rungs: str
    driver_kills: int
    worker_kills: int
    ended: bool
    agrees: bool
    lost_seconds: float
    seconds: float


def tormented(space: SearchSpace, run: Path, rng: Random, sessions: list[int]) -> tuple[int, int, int]:
    """Run a study to its end under kills; (exit code, driver kills, worker kills). Notes the sessions it started."""
    words, limit, drivers, workers = command(space, run), FIRST_SECONDS, 0, 0
    search = start(words)
    while True:
        sessions.append(search.pid)
        while search.poll() is None and not trainers(search.pid):
            time.sleep(0.1)
        due = time.monotonic() + rng.uniform(0.0, limit)
        while search.poll() is None and time.monotonic() < due:
            time.sleep(0.05)
        if search.poll() is not None:
            search.communicate()
            break
        limit *= GROWTH
        victims = trainers(search.pid)
        if victims and rng.random() < 0.5:
            kill(rng.choice(victims))
            workers += 1
        else:
            kill_driver(search)
            drivers += 1
            search = start(words)
    return search.returncode, drivers, workers


def judged(rungs: str, run: Path, undisturbed: Path) -> bool:
    """Whether a study found what the undisturbed one did, as far as its rungs promise."""
    if rungs == "synchronous":
        return results(run) == results(undisturbed)
    ours, theirs = curves(run), curves(undisturbed)
    same = all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())
    return same and {r.strategy for r in read(run, PipelineRecord)} == {
        r.strategy for r in read(undisturbed, PipelineRecord)
    }


def main() -> None:
    """Run them all, one line each."""
    parser = argparse.ArgumentParser(description="Studies killed at random moments until they end.")
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="with --nodes: the number, and seed, of the first study")
    parser.add_argument("--folder", type=Path, help="with --nodes: where results and logs are kept")
    options = parser.parse_args()
    if options.nodes:
        with tempfile.TemporaryDirectory() as made:
            folder = (options.folder or Path(made)).resolve()
            chaos_nodes.main(folder, nodes=options.nodes, studies=options.studies, first=options.first)
        return
    done: list[Result] = []
    sessions: list[int] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_inputs(folder)
        spaces = {rungs: space_of(folder, rungs) for rungs in ("synchronous", "asynchronous")}
        for rungs, space in spaces.items():
            search(space, folder / rungs)
        for number in range(options.studies):
            rungs = ("synchronous", "asynchronous")[number % 2]
            run, began = folder / f"run{number}", time.monotonic()
            code, drivers, workers = tormented(spaces[rungs], run, Random(options.seed + number), sessions)
            agrees = code == 0 and judged(rungs, run, folder / rungs)
            done.append(
                Result(rungs, drivers, workers, code == 0, agrees, charged(run, "lost"), time.monotonic() - began)
            )
            print(f"{number + 1:3} {done[-1]}", flush=True)
    ended, agree = sum(row.ended for row in done), sum(row.agrees for row in done)
    kills = sum(row.driver_kills + row.worker_kills for row in done)
    orphans = sum(bool(lingering(session)) for session in set(sessions))
    print(f"{ended} of {len(done)} ended, {agree} agree, {kills} kills, {orphans} sessions left a process behind")


if __name__ == "__main__":
    main()
