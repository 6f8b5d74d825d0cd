"""A study of 5,000 recorded trials on an S3 server: how long until the same command hands out work, and `recommend`.

    python -m benchmarks.recorded

The study is simulated, its records are real: written in batches to a run directory on a local S3 server (moto, in a
process of its own), where a driver was killed. Measured: claiming it, reading it, closing the killed session's books,
replaying the rungs, until the first task is handed out, without Ray's start and the check of the data; then
`recommend`; beside them the same with one file per fact, as workers wrote them before (`--files-per-fact`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.scheduler import MadeUp, made_space
from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.scheduler import PhaseScheduler
from raggrid.backend.ray.search import _close_books_of_killed_session
from raggrid.backend.simulator.replay import SPLITS, Replay, Step
from raggrid.evaluation.metrics import METRICS
from raggrid.graph import study_graph
from raggrid.records import CurveRecord, PredictionRecord
from raggrid.store.files import files_at
from raggrid.store.lease import claimed
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import session
from raggrid.store.tables import TABLES, create_run, table_files
from raggrid.study.controller import Controller
from raggrid.study.resume import halving_groups
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, Task
from raggrid.worker.opening import restored_from
from tests.store.object_store import CREDENTIALS, s3_server

QUESTIONS, SLOTS = 200, 64
ADDRESS = "s3://bucket/runs/many"


def serve(told: Connection) -> None:
    """An S3 server until nobody listens any more."""
    with s3_server("bucket") as endpoint:
        told.send(endpoint)
        told.recv()


class Answering(Replay):
    """A replay whose answerings carry an answer to each question."""

    def _work(self, task: Task) -> Iterator[Step]:
        for step in super()._work(task):
            rows = answers(task) if isinstance(task, AnswerTask) else ()
            yield Step(step.seconds, replace(step.report, rows=rows, num_questions=len(rows)))


def answers(task: AnswerTask) -> tuple[PredictionRecord, ...]:
    """Made-up ones: right for a share of the questions that depends on the pipeline."""
    share = int(task.pipeline_id[-4:], 16) % 50 + 25
    scores: list[dict[str, Any]] = [
        dict.fromkeys(METRICS, float((37 * place) % 100 < share)) for place in range(QUESTIONS)
    ]
    return tuple(
        PredictionRecord(
            pipeline_id=task.pipeline_id, strategy=task.strategy, loss=task.loss, seed=task.seed, split=task.split,
            question_id=f"q{place:04d}", prediction="some answer", retrieved_ids=("p1", "p2", "p3", "p4", "p5"), **row,
        )
        for place, row in enumerate(scores)
    )  # fmt: skip


def record(batched: bool, sides: tuple[int, int]) -> RunDirectory:
    """The study, written to the server, and left as a killed driver leaves it."""
    space = made_space(sides, "asynchronous")
    create_run(ADDRESS, space, {"study_key": "simulated"})
    storage = RunDirectory(ADDRESS, delay_seconds=2.0 if batched else 0.0)
    replay = Answering(space, MadeUp("made up", {}), SLOTS)
    replay.controller.records = storage
    replay.controller.open_books(0.0, SLOTS)
    deliver = replay._deliver

    def delivered(task: Task, step: Step) -> None:
        deliver(task, step)
        replay.controller.keep_up()

    setattr(replay, "_deliver", delivered)  # noqa: B010
    replay.run()
    replay.controller.close_books()
    if batched:
        storage.compact()
    try:
        with session(ADDRESS, SLOTS, 1, now=lambda: replay.clock.seconds):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return storage


def first_task(sides: tuple[int, int]) -> float:
    """Seconds until a larger space has its first task."""
    began = time.perf_counter()
    space = made_space((sides[0], sides[1] + 1), "asynchronous")
    with claimed(files_at(ADDRESS)):
        storage = RunDirectory(ADDRESS, delay_seconds=5.0)
        state = restored_from(storage, StudyState(space, study_graph(space), "simulated", SPLITS))
        state.indexed = True
        controller = Controller(state, storage, 0)
        _close_books_of_killed_session(state, storage)
        scheduler = PhaseScheduler(space, state.graph.searches)
        scheduler.replay(storage.read(CurveRecord), halving_groups(state))
        state.restart()
        assert controller.take()
        return time.perf_counter() - began


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Record, then measure."""
    options = argparse.ArgumentParser()
    options.add_argument("--sides", type=int, nargs=2, default=(42, 56), help="learning rates of each model")
    options.add_argument("--files-per-fact", action="store_true")
    given = options.parse_args()
    sides = (given.sides[0], given.sides[1])
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": here.recv()}
    written = seconds(lambda: record(not given.files_per_fact, sides))
    files = {name: len(table_files(ADDRESS, kind)) for kind, name in TABLES.items()}
    print(f"recorded in {written:.0f} s; table files: {sum(files.values())} {files}", flush=True)
    print(f"first task after {first_task(sides):.1f} s", flush=True)
    print(f"recommend {seconds(lambda: recommend([ADDRESS])):.1f} s", flush=True)
    here.send("done")
    server.join(10)


if __name__ == "__main__":
    main()
