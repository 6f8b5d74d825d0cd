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

from raggrid.display_names import display_name
from raggrid.records import Report, Status
from raggrid.space.rates import rate_text
from raggrid.study import events
from raggrid.study.events import Event, Progress
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

STYLES: Mapping[Status, str] = {
    Status.RUNNING: "cyan", Status.COMPLETED: "green", Status.STOPPED: "yellow", Status.DIVERGED: "red",
    Status.FAILED: "bold red",
}  # fmt: skip
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


def duration(seconds: float) -> str:
    """``45 s``, ``3:07``, ``2:05:09``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


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
        progress = self.progress
        done = float(progress.trials + progress.answers)
        for line in list(self.lines.values()):
            if line.seconds is None and isinstance(line.task, PhaseTask):
                done += line.report.step / line.task.run.max_steps
        return min(1.0, done / max(1, progress.planned_trials + progress.planned_answers))


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
        elif isinstance(event, events.StudyEnded):
            self.live.stop()

    def _draw(self) -> Group:
        lines = list(self.board.lines.values())
        room = max(6, self.console.size.height - 8)
        hidden = max(0, len(lines) - room)
        return Group(self._table(lines[hidden:], hidden), self._progress())

    def _table(self, lines: list[Line], hidden: int) -> Table:
        title = f"raggrid search: {self.name}" + (f"  ({hidden} earlier lines above)" if hidden else "")
        table = Table(
            title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
        )
        table.add_column("phase", no_wrap=True)
        for name in ("lr emb", "lr gen", "step", "objective", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for line in lines:
            status = line.report.status
            table.add_row(*_cells(line), Text(status, style=STYLES.get(status, "")))
        return table

    def _progress(self) -> Table:
        share, done, elapsed = self.board.share_done(), self.board.progress, self.board.elapsed()
        left = f"about {duration(elapsed * (1 - share) / share)} left" if 0.05 < share < 1 else ""
        row = Table.grid(padding=(0, 2))
        row.add_row(
            ProgressBar(total=1.0, completed=share, width=24),
            f"{share:.0%}",
            f"{done.trials}/{done.planned_trials} trials, {done.answers} answered",
            f"{duration(elapsed)} gone",
            left,
        )
        return row


def _cells(line: Line) -> list[str]:
    task, report = line.task, line.report
    time_cell = duration(line.elapsed())
    if isinstance(task, PhaseTask):
        steps = f"{report.step}/{task.run.max_steps}"
        shown = "" if report.objective is None else f"{report.objective:.4f}"
        return [task.search, rate_text(task.run.embedder_lr), rate_text(task.run.generator_lr), steps, shown, time_cell]
    if isinstance(task, AnswerTask):
        f1 = report.scores.get("f1")
        score = "" if f1 is None else f"F1 {100 * f1:.1f}"
        return [f"{task.split}: {display_name(task.strategy, task.loss)}", "", "", "", score, time_cell]
    return ["index: embed the corpus", "", "", "", "", time_cell]


class PlainScreen:
    """One line per event, for logs and pipes: a trial's measurements on its way, and every task's end."""

    def __init__(self, console: Console) -> None:
        self.console, self.board = console, Board()

    def __call__(self, event: Event) -> None:
        """Take in what has happened, and say it."""
        self.board.take(event)
        if isinstance(event, events.TaskEnded):
            self._say(event.task, event.report.status)
        elif isinstance(event, events.TaskReported) and event.report.status == Status.RUNNING:
            self._say(event.task, "")

    def _say(self, task: Task, status: str) -> None:
        cells = [cell for cell in _cells(self.board.lines[task.key]) if cell and cell != "-"]
        gone, share = duration(self.board.elapsed()), self.board.share_done()
        self.console.print(
            f"[{gone:>7} {share:4.0%}] {'  '.join(cells)}  {status}", markup=False, highlight=False, soft_wrap=True
        )


def screen_of(console: Console, *, plain: bool) -> events.Observer:
    """The screen that suits a console."""
    return PlainScreen(console) if plain else LiveScreen(console)
