"""A study as it runs, for a person: a live table on a terminal, plain lines elsewhere. Both observe its events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raggrid.machine_faults import FaultRecord
from raggrid.records import Report, Status
from raggrid.study import events
from raggrid.study.events import Event, Progress
from raggrid.study.outlook import seconds_left, share_done
from raggrid.study.tasks import Task
from raggrid.watching.cells import HEAD, cells, duration

STYLES: Mapping[Status, str] = {
    Status.RUNNING: "cyan", Status.COMPLETED: "green", Status.STOPPED: "yellow", Status.DIVERGED: "red",
    Status.FAILED: "bold red", Status.FAULTED: "magenta",
}  # fmt: skip
FOLLOWS = {
    "retried": "It is tried again.",
    "node_excluded": "This node failed several tasks in a row and is used no more; the task is tried on another.",
    "given_up": "It is not tried again in this session; the same command does.",
    "no_node_left": "This node failed several tasks in a row, and there is no other.",
}
NOTHING = Report(status=Status.RUNNING)
NO_PROGRESS = Progress(trials=0, planned_trials=0, answers=0, planned_answers=0)


@dataclass
class Line:
    """One task on the screen."""

    task: Task
    report: Report = NOTHING
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None

    def elapsed(self) -> float:
        """Seconds since the start, or in all once it has ended."""
        return time.monotonic() - self.started if self.seconds is None else self.seconds


@dataclass
class Board:
    """The tasks of a study and how far it has come, from its events alone."""

    lines: dict[str, Line] = field(default_factory=dict)
    progress: Progress = NO_PROGRESS
    began: float = field(default_factory=time.monotonic)

    def take(self, event: Event) -> None:
        """Take in what has happened."""
        self.progress = event.progress
        if isinstance(event, events.StudyStarted):
            self.began = time.monotonic()
        elif isinstance(event, events.TaskStarted):
            self.lines[event.task.key] = Line(event.task)
        elif isinstance(event, events.TaskReported | events.TaskEnded):
            line = self.lines[event.task.key]
            line.report = event.report
            line.seconds = line.elapsed() if isinstance(event, events.TaskEnded) else None

    def elapsed(self) -> float:
        """Seconds since the study began."""
        return time.monotonic() - self.began

    def share_done(self) -> float:
        """The share of the study's tasks that is done, running trials counted by their steps; in [0, 1]."""
        lines = list(self.lines.values())
        return share_done(self.progress, [(line.task, line.report.step) for line in lines if line.seconds is None])

    def seconds_left(self) -> float | None:
        """Seconds to the end if the rest goes as fast; None while too little is done to tell."""
        return seconds_left(self.share_done(), self.elapsed())


def fault_sentence(fault: FaultRecord) -> str:
    """Where a machine failed a task, why, and what follows."""
    return f"{fault.node or 'unknown node'}: failed {fault.task}: {fault.error} {FOLLOWS[fault.consequence]}"


def slots_sentence(event: events.SlotsChanged) -> str:
    """How many trials there is room for now, on what, and what the budget makes of devices without a price."""
    if not event.slots:
        return f"Concurrent trials: none now, {event.earlier} before: the study waits for devices."
    devices = ", ".join(f"{count} {kind}" for kind, count in event.by_type.items())
    prices = "".join(
        f" {kind} has no price: the budget counts it at the highest one that is given; add it before the next session "
        f"or recommend (--price {kind}=DOLLARS)."
        for kind in event.unpriced
    )
    return f"Concurrent trials: {event.slots} now, {event.earlier} before. Devices: {devices}.{prices}"


class LiveScreen:
    """The table on a terminal, redrawn four times a second from the start of a study to its end."""

    def __init__(self, console: Console) -> None:
        self.console, self.board, self.name = console, Board(), ""
        self.live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=False)

    def __call__(self, event: Event) -> None:
        """Take in what has happened; begin and end the drawing."""
        self.board.take(event)
        if isinstance(event, events.StudyStarted):
            self.name = event.study
            self.live.start()
        elif isinstance(event, events.TaskFaulted):
            self.console.print(fault_sentence(event.fault), markup=False, highlight=False)
        elif isinstance(event, events.SlotsChanged):
            self.console.print(slots_sentence(event), markup=False, highlight=False)
        elif isinstance(event, events.StudyEnded):
            self.live.stop()

    def _draw(self) -> Group:
        room = max(6, self.console.size.height - 8)
        return drawn(self.board, f"raggrid search: {self.name}", room)


def drawn(board: Board, title: str, room: int) -> Group:
    """The last ``room`` tasks as a table with a line for each, and below it how far the study has come."""
    lines = list(board.lines.values())
    hidden = max(0, len(lines) - room)
    return Group(_table(lines[hidden:], title, hidden), _progress(board))


def _table(lines: list[Line], title: str, hidden: int) -> Table:
    title += f"  ({hidden} earlier lines above)" if hidden else ""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for name in HEAD:
        table.add_column(name, justify="left" if name in (HEAD[0], HEAD[-1]) else "right", no_wrap=True)
    for line in lines:
        status = line.report.status
        table.add_row(*cells(line.task, line.report, line.elapsed()), Text(status, style=STYLES.get(status, "")))
    return table


def _progress(board: Board) -> Table:
    share, done, left = board.share_done(), board.progress, board.seconds_left()
    row = Table.grid(padding=(0, 2))
    row.add_row(
        ProgressBar(total=1.0, completed=share, width=24),
        f"{share:.0%}",
        f"{done.trials}/{done.planned_trials} trials, {done.answers} answered",
        f"{duration(board.elapsed())} gone",
        f"about {duration(left)} left" if left else "",
    )
    return row


class PlainScreen:
    """One line per event, for logs and pipes: a trial's measurements on its way, and every task's end."""

    def __init__(self, console: Console) -> None:
        self.console, self.board = console, Board()

    def __call__(self, event: Event) -> None:
        """Take in what has happened, and say it."""
        self.board.take(event)
        if isinstance(event, events.TaskFaulted):
            say(self.console, fault_sentence(event.fault))
        elif isinstance(event, events.SlotsChanged):
            say(self.console, slots_sentence(event))
        elif isinstance(event, events.TaskEnded):
            self._say(event.task, event.report.status)
        elif isinstance(event, events.TaskReported) and event.report.status == Status.RUNNING:
            self._say(event.task, "")

    def _say(self, task: Task, status: str) -> None:
        say(self.console, said(self.board, self.board.lines[task.key], status))


def said(board: Board, line: Line, status: str) -> str:
    """A task as a line of a log."""
    shown = [cell for cell in cells(line.task, line.report, line.elapsed()) if cell and cell != "-"]
    return f"[{duration(board.elapsed()):>7} {board.share_done():4.0%}] {'  '.join(shown)}  {status}"


def say(console: Console, text: str) -> None:
    """A line of a log, as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def screen_of(console: Console, *, plain: bool) -> events.Observer:
    """The screen that suits a console."""
    return PlainScreen(console) if plain else LiveScreen(console)
