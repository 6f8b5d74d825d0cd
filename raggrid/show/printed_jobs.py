"""The studies that were submitted to a cluster, as text for a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from raggrid.show.layout import new_table, show_table

if TYPE_CHECKING:
    from raggrid.backend.ray.jobs import Job


def show_jobs(found: Sequence[Job], out: Console, now: float | None = None) -> None:
    """One line per study, oldest first; what went wrong with the last one below."""
    if not found:
        out.print("No study was submitted to this cluster. raggrid submit does that.", highlight=False)
        return
    table = new_table("Submitted studies")
    for name in ("job", "status", "began (UTC)", "minutes", "exit", "run directory"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("minutes", "exit") else "left")
    for job in found:
        table.add_row(job.name, job.status, _moment(job.began_at), _minutes(job, now or time.time()),
                      "" if job.exit_code is None else str(job.exit_code), job.run)  # fmt: skip
    show_table(table, out)
    if found[-1].is_over and found[-1].shell_code:
        out.print(f"{found[-1].name}: {found[-1].message}", highlight=False, markup=False)


def _moment(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _minutes(job: Job, now: float) -> str:
    return "" if job.began_at is None else f"{((job.ended_at or now) - job.began_at) / 60:.0f}"
