"""A task as the cells of a table: the same for `raggrid search`, for a watcher's terminal and for its page."""

from __future__ import annotations

from raggrid.display_names import display_name
from raggrid.records import Report
from raggrid.space.rates import rate_text
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

HEAD = ("phase", "lr emb", "lr gen", "step", "objective", "time", "state")


def cells(task: Task, report: Report, seconds: float) -> list[str]:
    """All cells of `HEAD` but the state, as text; empty where a task has no such number."""
    time_cell = duration(seconds)
    if isinstance(task, PhaseTask):
        steps = f"{report.step}/{task.run.max_steps}"
        shown = "" if report.objective is None else f"{report.objective:.4f}"
        return [task.search, rate_text(task.run.embedder_lr), rate_text(task.run.generator_lr), steps, shown, time_cell]
    shard = "" if isinstance(task, PhaseTask) or task.num_shards == 1 else f", {task.shard + 1} of {task.num_shards}"
    if isinstance(task, AnswerTask):
        f1 = report.scores.get("f1")
        score = "" if f1 is None else f"F1 {100 * f1:.1f}"
        return [f"{task.split}: {display_name(task.strategy, task.loss)}{shard}", "", "", "", score, time_cell]
    return [f"index: embed the corpus{shard}", "", "", "", "", time_cell]


def duration(seconds: float) -> str:
    """``45 s``, ``3:07``, ``2:05:09``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
