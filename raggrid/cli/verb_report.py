"""The verb that writes a study up as one page: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.judging import Worth, judging
from raggrid.cli.options import LogCost


@app.command()
@judging
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search.")],
    options: dict[str, Any],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML page to write.")] = Path(
        "report.html"
    ),
    worth: Worth = None,
    log_cost: LogCost = False,
) -> None:
    """Write a study up as one self-contained page for a colleague who was not there.

    Both answers of recommend with what they rest on, under the same options: standings with their intervals, the
    frontier and the controls beside it, where points are lost, what searching buys, learning curves, the response to
    the learning rate, where the time went, every trial, predictions where strategies differ, the exact space and
    environment. The page opens without a network.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    raggrid.write_report(run, output, worth=worth, log_cost=log_cost, **options)
    print(f"Written: {output}")
