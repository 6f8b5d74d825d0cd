"""Run directories of studies that are under way, as their own searches would have left them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from raggrid.graph import study_graph
from raggrid.records import Category, LedgerRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import files_at
from raggrid.store.run_directory import RunDirectory
from raggrid.store.run_layout import VECTORS
from raggrid.store.sessions import Session, _write
from raggrid.store.tables import create_run
from raggrid.study.controller import Controller
from raggrid.study.state import StudyState
from raggrid.study.tasks import PhaseTask, to_running
from tests.controllers import play
from tests.records import charge, made_space

KEY = "key"


def begun(run: Path, space: SearchSpace | None = None) -> Controller:
    """A controller over a new run directory whose names a watcher can work out."""
    space = space or made_space()
    create_run(run, space, {"study_key": KEY, "data": {"num_questions": {"train": 9, "validation": 4, "test": 4}}})
    files_at(run).write(VECTORS, b"")
    state = StudyState(space, study_graph(space), KEY, ("validation", "test"))
    return Controller(state, RunDirectory(run), 0)


def under_way(run: Path, cut: int, space: SearchSpace | None = None, **session: float) -> Controller:
    """A study of which ``cut`` tasks have ended and two run, by a session that lives."""
    controller = begun(run, space)
    play(controller, cut=cut)
    for _ in range(2):
        controller.take()
    told(controller, run, **session)
    controller.records.append(slices(controller))
    return controller


def told(controller: Controller, run: Path, **session: float) -> Session:
    """Write a sign of life of the controller's session."""
    now = time.time()
    running = tuple(
        to_running(task, controller.started_at[key], None) for key, task in controller.state.running.items()
    )
    made = Session(began=now - 100.0, alive=now, devices=2, workers=1, running=running, slots=2)
    made = replace(made, **session)  # type: ignore[arg-type]
    _write(files_at(run), made)
    return made


def slices(controller: Controller) -> list[LedgerRecord]:
    """What each running trial was charged for its start."""
    running = [task for task in controller.state.running.values() if isinstance(task, PhaseTask)]
    return [
        charge(Category.STARTUP, 2.0, task.trial_id, started_at=controller.started_at[task.key]) for task in running
    ]


def listing(run: Path) -> dict[str, tuple[int, int]]:
    """Every file with its time of change and its size."""
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(run.rglob("*"))}
