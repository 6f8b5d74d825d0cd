"""The verb that compares cost and quality of studies, from their records: frontier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Cost, Json, LogCost, MetricOption, Runs, print_json, said_as_options


@app.command()
def frontier(
    runs: Runs,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write .html, .png, .svg, .csv or .json. Repeatable."),
    ] = None,
    metric: MetricOption = "f1",
    cost: Annotated[
        Cost | None,
        typer.Option(
            metavar="COST",
            help="Cost on the axis: search, final or marginal. Default: search, or final for an imported table that "
            "has no other.",
        ),
    ] = None,
    log_cost: LogCost = False,
    as_json: Json = False,
) -> None:
    """Compare cost and quality: show the strategies that no other strategy beats on both.

    Several run directories are shown side by side. A second view shows what searching buys: the expected best quality
    against the device time spent on trials. The HTML page is self-contained and opens without a network.
    """
    with said_as_options("metric", "cost"):
        result = raggrid.frontier(runs, metric=metric, cost=cost)
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
