"""Studies carried out with made-up outcomes: a controller and what its tasks report, without Ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random

from raggrid.evaluation.metrics import METRICS
from raggrid.graph import study_graph
from raggrid.records import PipelineRecord, Report, Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import create_run, read
from raggrid.study.controller import Controller
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, Task
from raggrid.worker.opening import restored_from
from tests.records import made_space

Outcome = Callable[[Task], Report]
TRAIN, EVALUATE = 10.0, 1.0
Objective = Callable[[PhaseTask, int], float]
Score = Callable[[AnswerTask], float]


def new_controller(run: Path, space: SearchSpace, splits: tuple[str, ...] = ("validation", "test")) -> Controller:
    create_run(run, space, {})
    return Controller(StudyState(space, study_graph(space), "key", splits), RunDirectory(run), 0)


def run_of(controller: Controller) -> Path:
    """Its run directory."""
    assert isinstance(controller.records, RunDirectory)
    return Path(controller.records.address)


def results_of(run: Path) -> set[tuple[object, ...]]:
    """What a study found, cost aside."""
    trials = [(row.trial_id, row.status, row.steps, row.objective) for row in read(run, TrialRecord)]
    return {*trials, *((row.pipeline_id, row.split, row.f1) for row in read(run, PipelineRecord))}


def bowl(task: PhaseTask, step: int) -> float:
    """Best at 1e-5 and 3e-4, by the distance in the logarithm; falls with the steps; a little apart for each seed."""
    run, loss = task.run, 3.0
    for rate, best in ((run.embedder_lr, 1e-5), (run.generator_lr, 3e-4)):
        loss += abs(math.log10(rate / best)) if rate else 0.0
    return loss - 0.01 * step + 0.001 * run.seed


def alike(_: AnswerTask) -> float:
    """Every pipeline answers as well as any other."""
    return 0.5


def finish(
    controller: Controller, task: Task, objective: Objective = bowl, *, until: int | None = None, score: Score = alike
) -> None:
    """Let a running task end as a worker would have it."""
    if isinstance(task, PhaseTask):
        step = until or task.pause_at or task.run.max_steps
        status = Status.PAUSED if task.pause_at else Status.RUNNING if until else Status.COMPLETED
        status = status if math.isfinite(objective(task, step)) else Status.DIVERGED
        report = Report(
            status=status, step=step, objective=objective(task, step), train_seconds=float(step), evaluate_seconds=1.0
        )
        controller.reported(task.key, report)
    elif isinstance(task, AnswerTask):
        controller.reported(task.key, answered(score(task)))
    else:
        controller.reported(task.key, Report(status=Status.COMPLETED))
    controller.finished(task.key)


def play(
    controller: Controller,
    objective: Objective = bowl,
    *,
    slots: int = 1,
    rng: Random | None = None,
    cut: int | None = None,
    score: Score = alike,
) -> list[Task]:
    """Carry out a study with ``slots`` tasks at once, in an order that ``rng`` picks; ``cut`` ends it after so many."""
    rng = rng or Random(0)
    running: list[Task] = []
    order: list[Task] = []
    while not controller.is_done() and (cut is None or len(order) < cut):
        while len(running) < slots and (task := controller.take()):
            running.append(task)
            order.append(task)
        assert running, "nothing runs, nothing starts, and the study is not done"
        finish(controller, running.pop(rng.randrange(len(running))), objective, score=score)
    return order


def continued(controller: Controller, space: SearchSpace | None = None) -> Controller:
    """The study anew from its records; of a larger ``space`` where that is given."""
    space = space or controller.state.space
    run = RunDirectory(run_of(controller))
    state = restored_from(run, StudyState(space, study_graph(space), "key", ("validation", "test")))
    state.indexed = True
    return Controller(state, run, 0)


def with_rates(**changes: object) -> SearchSpace:
    rates = {"embedder": [1e-6, 1e-5, 1e-4], "generator": [1e-4, 3e-4, 1e-3], **changes}
    return made_space(learning_rates=rates)


def answered(score: float) -> Report:
    """Four questions answered with this mean in every metric."""
    scores = {**dict.fromkeys(METRICS, score), "recall_at_k": 0.5}
    return Report(status=Status.COMPLETED, num_questions=4, scores=scores)


def outcome(task: Task) -> Report:
    """Rates of 1e-5 and 3e-4 are the best ones; every trial trains 10 s and evaluates 1 s."""
    if isinstance(task, PhaseTask):
        good = (task.run.embedder_lr in (None, 1e-5)) + (task.run.generator_lr in (None, 3e-4))
        return Report(
            status=Status.COMPLETED, step=task.run.max_steps, objective=3.0 - good, train_seconds=TRAIN,
            evaluate_seconds=EVALUATE,
        )  # fmt: skip
    if isinstance(task, AnswerTask):
        return answered(0.1 * sum(side is not None for side in (task.embedder_trial_id, task.generator_trial_id)))
    return Report(status=Status.COMPLETED)


def carry_out(controller: Controller, decide: Outcome = outcome) -> list[Task]:
    """Carry out tasks one by one until none is left; returns them in order."""
    order = []
    while task := controller.take():
        order.append(task)
        report = decide(task)
        controller.reported(task.key, report)
        controller.finished(task.key, stop_reason=Status.STOPPED if report.status == Status.RUNNING else None)
    assert controller.state.is_done()
    return order
