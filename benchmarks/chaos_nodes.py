"""Studies on a cluster whose nodes are drained and lost, and whose driver is killed, until they end.

    python -m benchmarks.chaos --nodes 4 [--studies 3] [--seed 0]

A head and so many nodes of one CPU on this machine, none of which sees the others' folder for runs; the run directories
lie on an S3 server on loopback that fails 2% of all requests and stalls now and then. At random moments after a session
of the study has begun, further and further apart, a node is lost, half of them with a notice some seconds ahead, or the
driver gets SIGKILL. A lost node is replaced, and a killed driver is started again with the same command. All records
must equal the undisturbed study's, cost aside.
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
from raggrid.records import Category, CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.lease import FOLDER
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import open_session
from raggrid.store.tables import read
from raggrid.study.tasks import running_from
from tests.processes import RAGGRID, kill_driver, start
from tests.ray_nodes import answers, asked_for, busy, drain, free_port, has_joined, lose, ray_node
from tests.store.object_store import CREDENTIALS, Trouble, s3_server
from tests.tiny import make_tiny_models

FIRST_SECONDS, GROWTH = 20.0, 1.4  # work between blows: random up to this, which grows so that studies can end
NOTICE_SECONDS, DEADLINE_SECONDS = 8.0, 30.0  # a drained node is lost after the first, its deadline is the second
STALL_SECONDS = 12.0  # longer than a request may take
PATIENCE_SECONDS = 600.0
KINDS = ("drained", "lost", "driver")
STORE = "--object-store-memory=200000000"  # bytes per node: each would take a third of the machine's memory


@dataclass
class Cluster:
    """Nodes by name, all of which can be lost and replaced."""

    address: str
    held: ExitStack
    hidden: Path | None
    cpus: int = 1
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: int = 0

    def add(self) -> None:
        name = f"node{self.started}"
        self.started += 1
        options = (f"--address={self.address}", f"--num-cpus={self.cpus}", f"--node-name={name}", STORE)
        self.nodes[name] = self.held.enter_context(ray_node(*options, without=self.hidden))
        while not has_joined(self.address, name):
            time.sleep(0.2)

    def blow(self, kind: str, rng: Random) -> None:
        """Lose a node, with or without a notice, and get another; three of four times one that is used."""
        used = [name for name in sorted(self.nodes) if busy(self.nodes[name])]
        name = rng.choice(used if used and rng.random() < 0.75 else sorted(self.nodes))
        if kind == "drained":
            drain(self.address, name, DEADLINE_SECONDS)
            time.sleep(NOTICE_SECONDS)
        lose(self.nodes.pop(name))
        self.add()


@contextmanager
def cluster(count: int, hidden: Path | None = None, cpus: int = 1) -> Iterator[Cluster]:
    """A head without CPUs, and ``count`` nodes of ``cpus``; ``hidden``: a folder that none of these sees."""
    port = free_port()
    with ExitStack() as held:
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats",
                STORE)  # fmt: skip
        held.enter_context(ray_node(*head))
        while not answers(port):
            time.sleep(0.2)
        made = Cluster(f"127.0.0.1:{port}", held, hidden, cpus)
        for _ in range(count):
            made.add()
        yield made


@dataclass(frozen=True)
class Blow:
    """A blow between two times, in seconds since the epoch, and the kinds of tasks that ran before it."""

    kind: str
    began: float
    over: float
    during: tuple[str, ...]


@dataclass
class Watch:
    """When each trial's record was first seen."""

    run: RunDirectory
    finished: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        for row in self.run.read(TrialRecord):
            self.finished.setdefault(row.trial_id, time.time())

    def run_twice(self) -> set[str]:
        """Trials that held devices again after their record was there."""
        rows = self.run.read(LedgerRecord)
        return {row.trial_id for row in rows if row.trial_id and row.started_at > self.finished.get(row.trial_id, 1e12)}


def tormented(words: list[str | Path], watch: Watch, place: Cluster, rng: Random) -> tuple[int, list[Blow]]:
    """Run a study to its end under blows; (exit code, blows)."""
    limit, blows, study = FIRST_SECONDS, list[Blow](), start(words)
    ends = time.monotonic() + PATIENCE_SECONDS
    while study.poll() is None and time.monotonic() < ends:
        due = time.monotonic() + rng.uniform(0.1, 1.0) * limit
        while study.poll() is None and (time.monotonic() < due or not open_session(watch.run.files)):
            time.sleep(1.0)
            watch.look()
        if study.poll() is not None:
            break
        limit *= GROWTH
        kind, began = KINDS[len(blows) % len(KINDS)], time.time()
        during = running(watch.run)
        if kind == "driver":
            kill_driver(study)
            study = start(words)
        else:
            place.blow(kind, rng)
        blows.append(Blow(kind, began, time.time(), during))
    if study.poll() is None:
        kill_driver(study)
    _, told = study.communicate() if study.stdout and not study.stdout.closed else ("", "")
    if study.returncode:
        print(told[-1500:], flush=True)
    watch.look()
    return study.returncode, blows


def running(run: RunDirectory) -> tuple[str, ...]:
    """The kinds of tasks that a study said last that it does."""
    session = open_session(run.files)
    tasks = [found[0] for plain in (session.running if session else ()) if (found := running_from(plain))]
    return tuple(sorted({task.kind for task in tasks})) or ("nothing",)


@dataclass(frozen=True)
class Result:
    """One study's end. ``lost`` is in device-seconds, ``drains_lost`` that of drained nodes alone, with their faults in
    ``drain_faults``; ``behind`` is what was still there half a minute after the end."""

    ended: bool
    agrees: bool
    blows: Counter[str]
    during: Counter[str]
    lost: float
    drains_lost: float
    drain_faults: int
    run_twice: int
    behind: tuple[str, ...]
    seconds: float


def judged(run: RunDirectory, code: int, blows: list[Blow], watch: Watch, place: Cluster, undisturbed: Path) -> Result:
    """What is to be seen of a study that has ended."""
    drains = [blow for blow in blows if blow.kind == "drained"]
    lost = [row for row in run.read(LedgerRecord) if row.category == Category.LOST]
    return Result(
        ended=code == 0,
        agrees=code == 0 and found(run.address) == found(undisturbed),
        blows=Counter(blow.kind for blow in blows),
        during=Counter(kind for blow in blows for kind in blow.during),
        lost=sum(row.device_seconds for row in lost),
        drains_lost=sum(row.device_seconds for row in lost if _within(drains, row.started_at + row.wall_seconds)),
        drain_faults=sum(_within(drains, row.at) for row in run.read(FaultRecord)),
        run_twice=len(watch.run_twice()),
        behind=left_behind(run, place),
        seconds=time.time() - blows[0].began if blows else 0.0,
    )


def _within(blows: list[Blow], moment: float) -> bool:
    return any(blow.began <= moment <= blow.over for blow in blows)


def left_behind(run: RunDirectory, place: Cluster) -> tuple[str, ...]:
    """Working processes, leases and requests to an autoscaler that are there and go on being there."""
    left: list[str] = []
    for _ in range(30):
        left = [name for node in place.nodes.values() for name in busy(node)] + asked_for(place.address)
        left += [name for name in run.files.names(FOLDER) if name.endswith(".json")]
        if not left:
            break
        time.sleep(1.0)
    return tuple(left)


def found(run: Path | str) -> set[tuple[object, ...]]:
    """All that a study found, cost aside."""
    trials = [(row.trial_id, row.status, row.steps, row.objective, row.error) for row in read(run, TrialRecord)]
    curves = [(row.trial_id, row.step, row.objective, row.train_loss) for row in read(run, CurveRecord)]
    rows = [(row.pipeline_id, row.split, row.exact_match, row.f1, row.recall_at_k) for row in read(run, PipelineRecord)]
    return {*trials, *curves, *rows}


def run_on_nodes(space: SearchSpace, folder: Path, *, nodes: int, studies: int, seed: int) -> list[Result]:
    """So many studies, one line each."""
    search(space, folder / "undisturbed")
    (folder / "space.yaml").write_text(dump_space(space))
    hidden, done = folder / "runs", list[Result]()
    hidden.mkdir()
    trouble = Trouble(failures=0.02, stalls=0.002, stall_seconds=STALL_SECONDS, seed=seed)
    with s3_server("bucket", trouble) as endpoint:
        os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "RAY_AUTH_MODE": "disabled"}
        for number in range(studies):
            run = RunDirectory(f"s3://bucket/run{number}")
            with cluster(nodes, hidden) as place:
                words: list[str | Path] = [RAGGRID, "search", folder / "space.yaml", "--run", run.address,
                         "--address", place.address, "--set", "resources.workers=0", "--plain"]  # fmt: skip
                watch = Watch(run)
                code, blows = tormented(words, watch, place, Random(seed + number))
                done.append(judged(run, code, blows, watch, place, folder / "undisturbed"))
            print(f"{number + 1:3} {done[-1]} S3: {dict(trouble.met)}", flush=True)
    return done


def summary(done: list[Result]) -> str:
    """The row of the table in README.md."""
    blows = sum((row.blows for row in done), Counter[str]())
    during = sum((row.during for row in done), Counter[str]())
    return (
        f"{sum(row.ended for row in done)} of {len(done)} ended, {sum(row.agrees for row in done)} agree; "
        f"{dict(blows)} during {dict(during)}; drained nodes lost {sum(row.drains_lost for row in done):.1f} of "
        f"{sum(row.lost for row in done):.1f} device-seconds, with {sum(row.drain_faults for row in done)} faults; "
        f"{sum(row.run_twice for row in done)} finished trials ran twice; "
        f"{sum(len(row.behind) for row in done)} processes, leases or requests stayed behind"
    )


def main(space_of: Callable[[Path, str], SearchSpace], *, nodes: int, studies: int, seed: int) -> None:
    """The tiny world and its models, then the studies."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        world = make_world(0, num_entities=120)
        write_world(world, folder / "world")
        make_tiny_models(folder / "models", world)
        print(summary(run_on_nodes(space_of(folder, "synchronous"), folder, nodes=nodes, studies=studies, seed=seed)))
