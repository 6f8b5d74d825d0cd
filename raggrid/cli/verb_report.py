"""The verb that writes a study up as one page: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML page to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Write a study up as one self-contained page for a colleague who was not there.

    The recommendation and why, the frontier, learning curves, the response to the learning rate, where the time went,
    every trial, predictions where strategies differ, the exact space and environment. The page opens without a network.
    """
    raggrid.write_report(run, output)
    print(f"Written: {output}")
