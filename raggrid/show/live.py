"""A study as it runs, for a person: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raggrid.display_names import display_name
from raggrid.space.rates import rate_text
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

STYLES = {"running": "cyan", "completed": "green", "stopped": "yellow", "diverged": "red", "failed": "bold red"}


@dataclass
class Line:
    """One task on the screen."""

    task: Task
    started: float = field(default_factory=time.monotonic)
    status: str = "running"
    metrics: dict[str, Any] = field(default_factory=dict)
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


def total_tasks(state: StudyState) -> tuple[int, int]:
    """(trials, answerings) that the whole study has, as far as is known before it ran."""
    graph, most = state.graph, state.space.selection.finalists
    searching = 1 if graph.repeats else len(graph.seeds)
    repeating = len(graph.seeds) - searching
    trials = searching * sum(each.num_trials for each in graph.searches.values()) + repeating * len(graph.searches)
    answerings = graph.num_answerings({name: min(each.num_trials, most) for name, each in graph.searches.items()})
    return trials, round(sum(answerings[split] for split in state.splits))


def share_done(state: StudyState, lines: Mapping[str, Line], *, complete: bool = False) -> float:
    """The share of the study's tasks that is done, running trials counted by their steps; in [0, 1].

    ``complete``: nothing is left, though fewer pairs than there might have been were tried.
    """
    if complete:
        return 1.0
    trials, answers = total_tasks(state)
    done = float(len(state.trials) + len(state.answered))
    for line in lines.values():
        if line.status == "running" and isinstance(line.task, PhaseTask):
            done += line.metrics.get("step", 0) / line.task.run.max_steps
    return min(1.0, done / max(1, trials + answers))


class LiveScreen:
    """The table on a terminal, redrawn four times a second until the study ends."""

    def __init__(self, state: StudyState, console: Console, name: str) -> None:
        self.state, self.console, self.name = state, console, name
        self.lines: dict[str, Line] = {}
        self.began = time.monotonic()
        self.complete = False
        self.live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveScreen:
        self.live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self.complete = self.state.is_done()
        self.live.__exit__(*details)

    def started(self, task: Task) -> None:
        """A new line."""
        self.lines[task.key] = Line(task)

    def reported(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """New numbers in a line."""
        self.lines[task.key].metrics.update(metrics)

    def finished(self, task: Task, status: str, metrics: Mapping[str, Any]) -> None:
        """A line's last state."""
        line = self.lines[task.key]
        line.metrics.update(metrics)
        line.status, line.seconds = status, line.elapsed()

    def _draw(self) -> Group:
        lines = list(self.lines.values())
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
            table.add_row(*_cells(line), Text(line.status, style=STYLES.get(line.status, "")))
        return table

    def _progress(self) -> Table:
        share = share_done(self.state, dict(self.lines), complete=self.complete)
        elapsed = time.monotonic() - self.began
        left = f"about {duration(elapsed * (1 - share) / share)} left" if 0.05 < share < 1 else ""
        trials = len(self.state.trials) if self.complete else total_tasks(self.state)[0]
        row = Table.grid(padding=(0, 2))
        row.add_row(
            ProgressBar(total=1.0, completed=share, width=24),
            f"{share:.0%}",
            f"{len(self.state.trials)}/{trials} trials, {len(self.state.answered)} answered",
            f"{duration(elapsed)} gone",
            left,
        )
        return row


def _cells(line: Line) -> list[str]:
    task, metrics = line.task, line.metrics
    time_cell = duration(line.elapsed())
    if isinstance(task, PhaseTask):
        objective = metrics.get("objective")
        steps = f"{metrics.get('step', 0)}/{task.run.max_steps}"
        shown = "" if objective is None else f"{objective:.4f}"
        return [task.search, rate_text(task.run.embedder_lr), rate_text(task.run.generator_lr), steps, shown, time_cell]
    if isinstance(task, AnswerTask):
        score = f"F1 {100 * metrics['f1']:.1f}" if "f1" in metrics else ""
        return [f"{task.split}: {display_name(task.strategy, task.loss)}", "", "", "", score, time_cell]
    return ["index: embed the corpus", "", "", "", "", time_cell]


class PlainScreen:
    """One line an event, for logs and pipes."""

    def __init__(self, state: StudyState, console: Console) -> None:
        self.state, self.console = state, console
        self.lines: dict[str, Line] = {}
        self.began = time.monotonic()

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *details: Any) -> None:
        return None

    def started(self, task: Task) -> None:
        """Silent: an end says more."""
        self.lines[task.key] = Line(task)

    def reported(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """A trial's measurement on its way."""
        self.lines[task.key].metrics.update(metrics)
        if isinstance(task, PhaseTask) and metrics.get("status") == "running":
            self._say(task, "")

    def finished(self, task: Task, status: str, metrics: Mapping[str, Any]) -> None:
        """A task's end."""
        line = self.lines[task.key]
        line.status, line.seconds = status, line.elapsed()
        line.metrics.update(metrics)
        self._say(task, status)

    def _say(self, task: Task, status: str) -> None:
        cells = [cell for cell in _cells(self.lines[task.key]) if cell and cell != "-"]
        share = share_done(self.state, self.lines)
        gone = duration(time.monotonic() - self.began)
        self.console.print(
            f"[{gone:>7} {share:4.0%}] {'  '.join(cells)}  {status}", markup=False, highlight=False, soft_wrap=True
        )


def screen_of(console: Console, name: str, *, plain: bool) -> Callable[[StudyState], LiveScreen | PlainScreen]:
    """What makes the screen of a study once its state is known."""
    return lambda state: PlainScreen(state, console) if plain else LiveScreen(state, console, name)
