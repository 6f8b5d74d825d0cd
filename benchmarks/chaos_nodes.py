"""Studies on a cluster whose nodes are drained and lost, and whose driver is killed, until they end.

    python -m benchmarks.chaos --nodes 4 [--studies 20] [--first 0] [--folder FOLDER]
    python -m benchmarks.chaos --nodes 4 --studies 0 --folder FOLDER          the table of what was kept there

A head and so many nodes of one CPU on this machine, none of which sees the others' folder for runs; the run directories
lie on an S3 server on loopback that fails 2% of all requests and stalls now and then. Each study is hit three times, at
moments that its requests to the store tell (see `chaos_blows.MOMENTS`): a node is drained, a node is lost without
notice, the driver gets SIGKILL. A lost node is replaced, and a killed driver is started again with the same command.
All records must equal the undisturbed study's, cost aside.

With ``--folder`` the results, one JSON line per study, and what each study said are kept; further studies are added by
the same command with another ``--first``. A study that fails leaves its records there, and the next one begins.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from benchmarks.chaos_blows import Blow, Traffic, ends, plan, strike, wait_apart
from benchmarks.chaos_results import Result, keep, kept, table
from benchmarks.chaos_space import make_inputs, space_of
from benchmarks.ray_cluster import Cluster, cluster
from raggrid.machine_faults import FaultRecord
from raggrid.records import Category, CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.space.yaml_io import dump_space
from raggrid.store.files import read_bytes
from raggrid.store.lease import FOLDER
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import TABLES, read
from tests.processes import RAGGRID
from tests.ray_nodes import asked_for, busy
from tests.store.object_store import CREDENTIALS, Trouble, s3_server

RATES, STEPS = {"embedder": [1e-4, 1e-3], "generator": [1e-4, 3e-3]}, {"labels": 60, "rag": 160}
# The head finds a lost node within five seconds instead of fifteen; one that is slow has as long as by default.
# By default its workers run at a lower priority than all else on the machine.
OF_RAY = {"RAY_AUTH_MODE": "disabled", "RAY_health_check_period_ms": "1000", "RAY_worker_niceness": "0"}
STALL_SECONDS = 12.0  # longer than a request may take
PATIENCE_SECONDS = 900.0
LOOK_SECONDS = 2.0
TOLD_CHARACTERS = 600  # of what a study said last, as the cause of its failure


@dataclass
class Study:
    """A study that is hit: its command, its processes one after the other, and what was seen of it."""

    words: list[str | Path]
    run: RunDirectory
    log: Path
    deadline: float = field(default_factory=lambda: time.monotonic() + PATIENCE_SECONDS)
    began: float = field(default_factory=time.time)
    finished: dict[str, float] = field(default_factory=dict)
    """When each trial's record was first seen."""
    looked: float = 0.0

    def start(self) -> None:
        with self.log.open("a") as out:
            print(f"--- {time.time() - self.began:.1f} s: starts", file=out, flush=True)
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                self.words, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def restart(self) -> None:
        """SIGKILL, and the same command again."""
        self.process.kill()
        self.process.wait()
        self.start()

    def goes_on(self) -> bool:
        """Whether it still runs and has time; looks at its records now and then."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.look()
            self.looked = time.monotonic()
        return not ends(self.process, self.deadline)

    def look(self) -> None:
        for row in self.run.read(TrialRecord):
            self.finished.setdefault(row.trial_id, time.time())

    def wait(self) -> int | None:
        """Its exit code once it has ended; None where its time was over."""
        while self.goes_on():
            time.sleep(0.2)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            return None
        self.look()
        return self.process.returncode

    def run_twice(self) -> list[str]:
        """Trials that held devices again after their record was there."""
        rows = self.run.read(LedgerRecord)
        ended = {row.trial_id: self.finished.get(row.trial_id, float("inf")) for row in rows if row.trial_id}
        return sorted({row.trial_id for row in rows if row.trial_id and row.started_at > ended[row.trial_id]})


def tormented(
    study: Study, number: int, traffic: Traffic, place: Cluster, rng: Random
) -> tuple[int | None, list[Blow]]:
    """Run a study to its end under the blows planned for its number; (exit code, those that fell)."""
    blows = list[Blow]()
    study.start()
    for planned in plan(number, rng):
        wait_apart(blows, planned, study.goes_on)
        blow = strike(planned, traffic, place, rng, study.goes_on, study.restart)
        if blow:
            blows.append(blow)
            with study.log.open("a") as out:
                print(f"--- {blow.began - study.began:.1f} s: {blow}", file=out)
    return study.wait(), blows


def judged(study: Study, number: int, code: int | None, blows: list[Blow], place: Cluster, folder: Path) -> Result:
    """What is to be seen of a study that has ended."""
    seconds = time.time() - study.began
    drains = [blow for blow in blows if blow.kind == "drained"]
    lost = [row for row in study.run.read(LedgerRecord) if row.category == Category.LOST]
    same = found(study.run.address) == found(folder / "undisturbed")
    return Result(
        study=number,
        ended=code == 0,
        agrees=code == 0 and same,
        blows=[(blow.kind, blow.moment, round(blow.began - study.began, 1)) for blow in blows],
        lost=sum(row.device_seconds for row in lost),
        drains_lost=sum(row.device_seconds for row in lost if _within(drains, row.started_at + row.wall_seconds)),
        drain_faults=sum(_within(drains, row.at) for row in study.run.read(FaultRecord)),
        late=sum(not blow.in_time for blow in drains),
        run_twice=study.run_twice(),
        behind=left_behind(study.run, place),
        seconds=seconds,
        cause="" if code == 0 and same else _cause(study, code),
    )


def _within(blows: list[Blow], moment: float) -> bool:
    return any(blow.began <= moment <= blow.over for blow in blows)


def _cause(study: Study, code: int | None) -> str:
    if code == 0:
        return "other records than the undisturbed study"
    said = study.log.read_text()[-TOLD_CHARACTERS:]
    return f"{'not over in time' if code is None else f'exit code {code}'}: {said}"


def left_behind(run: RunDirectory, place: Cluster) -> list[str]:
    """Working processes, leases and requests to an autoscaler that are there and go on being there."""
    left: list[str] = []
    for _ in range(30):
        left = [name for node in place.nodes.values() for name in busy(node)] + asked_for(place.address)
        left += [name for name in run.files.names(FOLDER) if name.endswith(".json")]
        if not left:
            break
        time.sleep(1.0)
    return left


def found(run: Path | str) -> set[tuple[object, ...]]:
    """All that a study found, cost aside."""
    trials = [(row.trial_id, row.status, row.steps, row.objective, row.error) for row in read(run, TrialRecord)]
    curves = [(row.trial_id, row.step, row.objective, row.train_loss) for row in read(run, CurveRecord)]
    rows = [(row.pipeline_id, row.split, row.exact_match, row.f1, row.recall_at_k) for row in read(run, PipelineRecord)]
    return {*trials, *curves, *rows}


def save_records(run: RunDirectory, folder: Path) -> None:
    """Copy the tables of a study that failed to a disk, to be looked at."""
    for table_folder in TABLES.values():
        for name in run.files.names(table_folder):
            (folder / table_folder).mkdir(parents=True, exist_ok=True)
            (folder / table_folder / name).write_bytes(read_bytes(run.files, f"{table_folder}/{name}"))


def run_study(folder: Path, number: int, place: Cluster, trouble: Trouble) -> Result:
    """One study on the cluster; what goes wrong in watching it is the cause of its failure."""
    run = RunDirectory(f"s3://bucket/run{number}")
    words: list[str | Path] = [RAGGRID, "search", folder / "space.yaml", "--run", run.address,
                               "--address", place.address, "--set", "resources.workers=0", "--plain"]  # fmt: skip
    study, traffic = Study(words, run, folder / f"study{number}.txt"), Traffic(f"bucket/run{number}")
    trouble.heard, trouble.met = traffic.hear, Counter()
    try:
        code, blows = tormented(study, number, traffic, place, Random(number))
        result = judged(study, number, code, blows, place, folder)
    except Exception:
        result = Result(study=number, ended=False, agrees=False, cause=traceback.format_exc())
    finally:
        if study.process.poll() is None:
            study.process.kill()
    if not result.agrees:
        save_records(run, folder / f"study{number}")
    return replace(result, store=dict(trouble.met))


def run_on_nodes(folder: Path, *, nodes: int, numbers: range) -> None:
    """So many studies, one line each. A cluster serves them until one fails on it."""
    make_inputs(folder)
    (folder / "space.yaml").write_text(dump_space(space_of(folder, "synchronous", rates=RATES, steps=STEPS)))
    subprocess.run([RAGGRID, "search", folder / "space.yaml", "--run", folder / "undisturbed"], check=True)
    (folder / "runs").mkdir(exist_ok=True)
    trouble = Trouble(failures=0.02, stalls=0.002, stall_seconds=STALL_SECONDS, seed=numbers.start)
    with s3_server("bucket", trouble) as endpoint, ExitStack() as held:
        os.environ |= {**CREDENTIALS, **OF_RAY, "AWS_ENDPOINT_URL": endpoint}
        place = None
        for number in numbers:
            place = place or held.enter_context(cluster(nodes, folder / "runs"))
            result = run_study(folder, number, place, trouble)
            keep(folder, result)
            print(result, flush=True)
            if not result.agrees:
                held.close()
                place = None


def main(folder: Path, *, nodes: int, studies: int, first: int) -> None:
    """The studies, then the table of all that were kept in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if studies:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the nodes are to end as well
        run_on_nodes(folder, nodes=nodes, numbers=range(first, first + studies))
    print(table(kept(folder)))
