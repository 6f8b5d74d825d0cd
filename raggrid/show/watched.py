"""A study that runs elsewhere, on a terminal: the table of `raggrid search`, what was spent, and the best so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from raggrid.analysis.recommend import Recommendation, recommend
from raggrid.live_view.summary import Advice, advice_lines, summary
from raggrid.records import Report, Status
from raggrid.show.live import Board, Line, drawn, said, say
from raggrid.watching.reader import StudyReader
from raggrid.watching.snapshot import Condition, SeenTask, Snapshot

POLL_SECONDS = 1.0
BELOW = 10  # lines of a terminal that the table leaves for what stands around it


@dataclass
class SeenBoard(Board):
    """A study's tasks as its records show them; times are those of the records."""

    wall_seconds: float = 0.0
    left: float | None = None
    share: float = 0.0

    def elapsed(self) -> float:
        """Seconds that all sessions took."""
        return self.wall_seconds

    def share_done(self) -> float:
        """The share of the study's tasks that is done; in [0, 1]."""
        return self.share

    def seconds_left(self) -> float | None:
        """Seconds to the end, by what was done and by the budget."""
        return self.left


def board_of(seen: Snapshot) -> SeenBoard:
    """A snapshot as the board that `raggrid search` draws."""
    return SeenBoard(
        lines={task.task.key: _line(task, seen.seen_at) for task in seen.tasks}, progress=seen.progress,
        wall_seconds=seen.spent.wall_seconds, left=seen.seconds_left, share=seen.share_done,
    )  # fmt: skip


def _line(seen: SeenTask, now: float) -> Line:
    seconds = max(0.0, now - seen.started_at) if seen.seconds is None else seen.seconds
    return Line(seen.task, seen.report, seconds=seconds)


def show_once(seen: Snapshot, console: Console) -> None:
    """The study as it stands, and no more."""
    advice = _advice(seen.run)
    advice.renew(seen)
    console.print(drawn(board_of(seen), f"raggrid watch: {seen.name}", len(seen.tasks)))
    for line in (*summary(seen), *advice_lines(advice.wait())):
        console.print(Text(line), highlight=False)


def _advice(run: str) -> Advice[Recommendation]:
    return Advice(lambda: recommend([run]))


def watch_live(reader: StudyReader, console: Console, *, wait: Callable[[float], None] = time.sleep) -> None:
    """Draw the study until it is complete or the reader is interrupted."""
    seen = reader.read()
    advice = _advice(seen.run)

    def draw() -> Group:
        below = [Text(line) for line in (*summary(seen), *advice_lines(advice.found))]
        room = max(6, console.size.height - BELOW)
        return Group(drawn(board_of(seen), f"raggrid watch: {seen.name}", room), *below)

    with Live(get_renderable=draw, console=console, auto_refresh=False, transient=False) as live:
        while True:
            advice.renew(seen)
            live.refresh()
            if seen.condition == Condition.COMPLETE:
                advice.wait()
                live.refresh()
                return
            wait(POLL_SECONDS)
            seen = reader.read()


@dataclass
class _Told:
    """What was said of each task."""

    reports: dict[str, tuple[Status, int]] = field(default_factory=dict)

    def is_new(self, key: str, report: Report) -> bool:
        state = (report.status, report.step)
        known, self.reports[key] = self.reports.get(key), state
        return known != state and not (report.status == Status.RUNNING and not report.step)


def watch_plain(reader: StudyReader, console: Console, *, wait: Callable[[float], None] = time.sleep) -> None:
    """One line for each measurement and each end, until the study is complete or the reader is interrupted."""
    told, condition = _Told(), None
    while True:
        seen = reader.read()
        board = board_of(seen)
        for task in seen.tasks:
            if told.is_new(task.task.key, task.report):
                status = "" if task.report.status == Status.RUNNING else task.report.status
                say(console, said(board, board.lines[task.task.key], status))
        if seen.condition != condition:
            condition = seen.condition
            for line in summary(seen):
                say(console, line)
        if seen.condition == Condition.COMPLETE:
            return
        wait(POLL_SECONDS)
