"""The verb that compares cost and quality of studies, from their records: frontier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.judging import judging
from raggrid.cli.options import Json, LogCost, Runs, print_json


@app.command()
@judging
def frontier(
    runs: Runs,
    options: dict[str, Any],
    *,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write .html, .png, .svg, .csv or .json. Repeatable."),
    ] = None,
    log_cost: LogCost = False,
    as_json: Json = False,
) -> None:
    """Compare cost and quality: show the strategies that no other strategy beats on both.

    The options, and for one study the numbers, are those of recommend. Several run directories are shown side by side;
    studies on different types of device keep cost axes of their own. Controls are marked, never as choices. A second
    view shows what searching buys: the expected best quality against the device time spent on trials. The HTML page is
    self-contained and opens without a network.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    result = raggrid.frontier(runs, **options)
    written = [path for name in output or [] for path in raggrid.save_frontier(result, name, log_cost=log_cost)]
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_frontier import show_frontier

    out = console()
    show_frontier(result, out)
    for path in written:
        out.print(f"Written: {path}", highlight=False)
