"""Watching a study: what happens in it as plain facts, told to whoever wants to know. The screen is one of them.

    def observer(event: Event) -> None:
        if isinstance(event, TaskReported) and isinstance(event.task, PhaseTask):
            tracker.log(event.task.trial_id, event.report.step, event.report.objective)

    search(space, run, observers=[observer])

Observers are called in the process of the search, one after another, and should be quick: the study waits for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from raggrid.machine_faults import FaultRecord
from raggrid.records import Report
from raggrid.study.state import StudyState
from raggrid.study.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Trials that have ended and answers that are there, and how many the whole study has, as known before it ran."""

    trials: int
    planned_trials: int
    answers: int
    planned_answers: int


@dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """A session of a study begins; ``progress`` counts what earlier ones have done."""

    study: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TaskStarted:
    """A trial (`PhaseTask`: its id, search, rates, seed), an answering or the embedding of the corpus started."""

    task: Task
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TaskReported:
    """A task measured something: a trial at each evaluation (``report.rung`` where it reached one), or its end."""

    task: Task
    report: Report
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    """A task ended, or for now: ``report.status`` may be ``paused`` or ``interrupted``. The rest as last reported."""

    task: Task
    report: Report
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TaskFaulted:
    """A machine failed a task, which is not a result: ``fault`` says where, why, and what follows. Its end is next."""

    task: Task
    fault: FaultRecord
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class SlotsChanged:
    """There is room for ``slots`` tasks at once now, ``earlier`` before: nodes came or went, or others hold less or
    more.

    ``by_type``: workers by type of their devices; ``unpriced``: types of these that are new and have no price.
    """

    slots: int
    earlier: int
    by_type: Mapping[str, int]
    unpriced: tuple[str, ...]
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class StudyEnded:
    """A session ends. ``complete``: nothing is left to do, so what was planned is what was done."""

    study: str
    complete: bool
    progress: Progress


Event = StudyStarted | TaskStarted | TaskReported | TaskEnded | TaskFaulted | SlotsChanged | StudyEnded
Observer = Callable[[Event], None]


def tell(observers: Iterable[Observer], event: Event) -> list[Observer]:
    """Tell everybody; those who may be told of the next event too. One that raises is not, and its error is printed."""
    return [observer for observer in observers if _heard(observer, event)]


def _heard(observer: Observer, event: Event) -> bool:
    try:
        observer(event)
    except Exception as error:
        name = getattr(observer, "__qualname__", type(observer).__qualname__)
        print(
            f"observer {name}: got {type(error).__name__} at {type(event).__name__}: {' '.join(str(error).split())}; "
            "expected no error. The study goes on without it.",
            file=sys.stderr,
        )
        return False
    return True


def count_progress(state: StudyState, *, complete: bool = False) -> Progress:
    """How far a study has come. ``complete``: nothing is left, though less than there might have been was needed."""
    done = len(state.trials), len(state.answered)
    planned = done if complete else total_tasks(state)
    return Progress(trials=done[0], planned_trials=planned[0], answers=done[1], planned_answers=planned[1])


def total_tasks(state: StudyState) -> tuple[int, int]:
    """(trials, answerings) that the whole study has, as far as is known before it ran."""
    graph, most = state.graph, state.space.selection.finalists
    answerings = graph.num_answerings({name: min(each.num_trials, most) for name, each in graph.searches.items()})
    return graph.num_trials(), round(sum(answerings[split] for split in state.splits))
