"""A snapshot as what the live page shows: texts, rows and charts, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raggrid.analysis.results import Results
from raggrid.analysis.units import unit_for
from raggrid.display_names import display_name
from raggrid.graph import study_graph
from raggrid.live_view.summary import CONDITIONS, summary
from raggrid.records import CurveRecord, Status
from raggrid.report.contents import Study
from raggrid.report.drawing import Figure
from raggrid.report.figures import curve_figures, frontier_figures, headroom_figures, search_figures
from raggrid.store.files import files_at
from raggrid.study.tasks import PhaseTask
from raggrid.watching.cells import HEAD, cells, duration
from raggrid.watching.snapshot import Condition, SeenTask, Snapshot

MOST_ROWS = 400  # tasks that the page lists, the newest; a study of thousands would make it slow


@dataclass(frozen=True)
class _Training:
    """A study that may have answered nothing yet, for the curves of its trials."""

    results: Results
    curves: Sequence[CurveRecord]


def view(seen: Snapshot, judged: Study | None) -> dict[str, Any]:
    """All of the page but its charts.

    Args:
        seen: the study at this moment.
        judged: its answered pipelines with the verdict on them; None while there are none.
    """
    _, _, *sentences = summary(seen)  # the first two stand at the top as numbers
    running, others = _split(seen)
    return {
        "name": seen.name, "condition": str(seen.condition), "told": _told(seen), "sentences": sentences,
        "facts": dict(_facts(seen)), "share_done": seen.share_done, "budget_share": seen.spent.budget_share,
        "head": list(HEAD), "running": [_row(task, seen.seen_at) for task in running],
        "ended": [_row(task, seen.seen_at) for task in others[::-1][:MOST_ROWS]],
        "hidden": max(0, len(others) - MOST_ROWS), "advice": list(_advice(judged)),
        "version": f"{seen.num_facts}-{len(seen.trials)}-{id(judged)}",
    }  # fmt: skip


def charts(seen: Snapshot, judged: Study | None) -> dict[str, list[dict[str, Any]]]:
    """The page's charts by their section: id, title, Vega-Lite specification, what it shows."""
    results = Results(files_at(seen.run), seen.space, study_graph(seen.space), {}, seen.trials, ())
    groups = {
        "curves": list(curve_figures(_Training(results, seen.curves))),
        "frontier": list(frontier_figures(judged)) if judged else [],
        "headroom": list(headroom_figures(judged)) if judged else [],
        "searching": list(search_figures(judged)) if judged else [],
    }
    return {name: list(map(_plain, figures)) for name, figures in groups.items()}


def _plain(figure: Figure) -> dict[str, Any]:
    return {"id": figure.name, "title": figure.title, "spec": figure.spec, "about": figure.about}


def _told(seen: Snapshot) -> str:
    """The condition in words, for the badge at the top."""
    quiet = duration(seen.seen_at - (seen.alive_at or seen.seen_at))
    return CONDITIONS[seen.condition].format(quiet=quiet)


def _facts(seen: Snapshot) -> Iterator[tuple[str, str]]:
    """The numbers at the top, by name."""
    spent, done, left = seen.spent, seen.progress, seen.seconds_left
    unit = unit_for([spent.device_seconds], {row.device_type for row in seen.trials} or {"cpu"})
    yield "trials", f"{done.trials} of {done.planned_trials}"
    yield "answerings", f"{done.answers} of {done.planned_answers}"
    yield "time gone", duration(spent.wall_seconds)
    if seen.condition == Condition.RUNNING:
        yield "time left", "too early to tell" if left is None else f"about {duration(left)}"
        yield "slots busy", f"{len(seen.running)} of {seen.slots}"
    yield unit.name, unit.text(spent.device_seconds)
    if spent.dollars is not None:
        yield "dollars", f"{spent.dollars:,.2f}"
    if spent.budget_share is not None:
        yield "of the budget", f"{spent.budget_share:.0%}"
    yield from _statuses(seen)


def _statuses(seen: Snapshot) -> Iterator[tuple[str, str]]:
    """How many trials ended otherwise than by completing."""
    for status in (Status.STOPPED, Status.DIVERGED, Status.FAILED, Status.OVER_BUDGET, Status.INTERRUPTED):
        count = sum(row.status == status for row in seen.trials)
        if count:
            yield f"{status.replace('_', ' ')} trials", str(count)


def _split(seen: Snapshot) -> tuple[list[SeenTask], list[SeenTask]]:
    """The tasks that run, and the others."""
    running = seen.running
    return running, [task for task in seen.tasks if task not in running]


def _row(seen: SeenTask, now: float) -> dict[str, Any]:
    """A task as cells, with the share of its steps that is done where it trains."""
    seconds = max(0.0, now - seen.started_at) if seen.seconds is None else seen.seconds
    share = seen.report.step / seen.task.run.max_steps if isinstance(seen.task, PhaseTask) else None
    status = str(seen.report.status)
    return {"cells": [*cells(seen.task, seen.report, seconds), status], "status": status, "share": share,
            "error": (seen.report.error or "").strip().rpartition("\n")[2]}  # fmt: skip


def _advice(judged: Study | None) -> Iterator[dict[str, str]]:
    """The two answers so far: question, strategy, grade and its reason."""
    verdict = judged.verdict if judged else None
    for question, answer in (
        ("Deploy now", verdict and verdict.deploy),
        ("Next time", verdict and verdict.recommended),
    ):
        if answer:
            name = display_name(answer.strategy, answer.loss)
            yield {"question": question, "name": name, "grade": answer.grade, "reason": answer.reason}
