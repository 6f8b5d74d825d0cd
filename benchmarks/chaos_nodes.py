"""Studies on a cluster whose nodes are drained and lost, and whose driver is killed, until they end.

    python -m benchmarks.chaos --nodes 4 [--studies 3] [--seed 0]

A head and so many nodes of one CPU on this machine, none of which sees the others' folder for runs; the run directories
lie on an S3 server on loopback. At random moments after a study's work has begun, further and further apart, a node is
lost, half of them with a notice some seconds ahead, or the driver gets SIGKILL. A lost node is replaced, and a killed
driver is started again with the same command. All records must equal the undisturbed study's, cost aside.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from raggrid.backend.ray.search import search
from raggrid.demo import make_world, write_world
from raggrid.machine_faults import FaultRecord
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.tables import read
from tests.processes import RAGGRID, kill_driver, start
from tests.ray_nodes import answers, drain, free_port, has_joined, lose, ray_node
from tests.store.object_store import CREDENTIALS, s3_server
from tests.tiny import make_tiny_models

FIRST_SECONDS, GROWTH = 20.0, 1.4  # work between blows: random up to this, which grows so that studies can end
NOTICE_SECONDS, DEADLINE_SECONDS = 8.0, 30.0  # a drained node is lost after the first, its deadline is the second
PATIENCE_SECONDS = 420.0
KINDS = ("drained", "lost", "driver")


@dataclass
class Cluster:
    """Nodes by name, all of which can be lost and replaced."""

    address: str
    held: ExitStack
    hidden: Path
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: int = 0

    def add(self) -> None:
        name = f"node{self.started}"
        self.started += 1
        options = (f"--address={self.address}", "--num-cpus=1", f"--node-name={name}")
        self.nodes[name] = self.held.enter_context(ray_node(*options, without=self.hidden))
        while not has_joined(self.address, name):
            time.sleep(0.2)

    def blow(self, kind: str, rng: Random) -> None:
        """Lose a node, with or without a notice, and get another."""
        name = rng.choice(sorted(self.nodes))
        if kind == "drained":
            drain(self.address, name, DEADLINE_SECONDS)
            time.sleep(NOTICE_SECONDS)
        lose(self.nodes.pop(name))
        self.add()


@contextmanager
def cluster(count: int, hidden: Path) -> Iterator[Cluster]:
    """A head without CPUs, and ``count`` nodes of one."""
    port = free_port()
    with ExitStack() as held:
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
        held.enter_context(ray_node(*head))
        while not answers(port):
            time.sleep(0.2)
        made = Cluster(f"127.0.0.1:{port}", held, hidden)
        for _ in range(count):
            made.add()
        yield made


def tormented(words: list[str | Path], run: str, place: Cluster, rng: Random) -> tuple[int, Counter[str]]:
    """Run a study to its end under blows; (exit code, blows by kind)."""
    limit, blows, study = FIRST_SECONDS, Counter[str](), start(words)
    ends = time.monotonic() + PATIENCE_SECONDS
    while study.poll() is None and time.monotonic() < ends:
        due = time.monotonic() + rng.uniform(0.3, 1.0) * limit
        while study.poll() is None and (time.monotonic() < due or not read(run, CurveRecord)):
            time.sleep(0.5)
        if study.poll() is not None:
            break
        limit *= GROWTH
        kind = KINDS[sum(blows.values()) % len(KINDS)]
        blows[kind] += 1
        if kind == "driver":
            kill_driver(study)
            study = start(words)
        else:
            place.blow(kind, rng)
    if study.poll() is None:
        kill_driver(study)
    _, told = study.communicate() if study.stdout and not study.stdout.closed else ("", "")
    if study.returncode:
        print(told[-1500:], flush=True)
    return study.returncode, blows


def found(run: Path | str) -> set[tuple[object, ...]]:
    """All that a study found, cost aside."""
    trials = [(row.trial_id, row.status, row.steps, row.objective, row.error) for row in read(run, TrialRecord)]
    curves = [(row.trial_id, row.step, row.objective, row.train_loss) for row in read(run, CurveRecord)]
    rows = [(row.pipeline_id, row.split, row.exact_match, row.f1, row.recall_at_k) for row in read(run, PipelineRecord)]
    return {*trials, *curves, *rows}


def run_on_nodes(space: SearchSpace, folder: Path, *, nodes: int, studies: int, seed: int) -> None:
    """So many studies, one line each."""
    search(space, folder / "undisturbed")
    (folder / "space.yaml").write_text(dump_space(space))
    hidden = folder / "runs"
    hidden.mkdir()
    ended = agree = 0
    with s3_server("bucket") as endpoint:
        os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "RAY_AUTH_MODE": "disabled"}
        for number in range(studies):
            run, began = f"s3://bucket/run{number}", time.monotonic()
            with cluster(nodes, hidden) as place:
                words: list[str | Path] = [RAGGRID, "search", folder / "space.yaml", "--run", run,
                         "--address", place.address, "--set", "resources.workers=0", "--plain"]  # fmt: skip
                code, blows = tormented(words, run, place, Random(seed + number))
            same = code == 0 and found(run) == found(folder / "undisturbed")
            ended, agree = ended + (code == 0), agree + same
            lost = sum(row.device_seconds for row in read(run, LedgerRecord) if row.category == "lost")
            faults = Counter(row.consequence for row in read(run, FaultRecord))
            print(f"{number + 1:3} ended={code == 0} agrees={same} {dict(blows)} faults={dict(faults)} "
                  f"lost={lost:.1f} s, {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    print(f"{ended} of {studies} ended, {agree} agree")


def main(space_of: Callable[[Path, str], SearchSpace], *, nodes: int, studies: int, seed: int) -> None:
    """The tiny world and its models, then the studies."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        world = make_world(0, num_entities=120)
        write_world(world, folder / "world")
        make_tiny_models(folder / "models", world)
        run_on_nodes(space_of(folder, "synchronous"), folder, nodes=nodes, studies=studies, seed=seed)
