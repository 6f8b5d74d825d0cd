"""The verb that runs a study: search."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import (
    Cluster,
    DeviceHours,
    Dollars,
    Json,
    Override,
    PriceOption,
    Space,
    WallHours,
    budget_options,
    prices,
    print_json,
    said_as_options,
)
from raggrid.study.events import Observer


@app.command()
def search(
    space: Space,
    run: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Run directory: a new folder, or that of the same study; on a cluster, a shared one."
        ),
    ],
    set_: Override = None,
    address: Cluster = None,
    extend: Annotated[
        bool, typer.Option(help="Accept a space that only adds to the one in DIR, and run only what is new.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Run trials again that failed by an error of the model or the data. What machines failed (a lost "
            "node, a killed process, a storage error) runs again anyway.",
        ),
    ] = False,
    device_hours: DeviceHours = None,
    wall_hours: WallHours = None,
    dollars: Dollars = None,
    price: PriceOption = None,
    plain: Annotated[bool, typer.Option(help="Print one line per event instead of a live table.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study: every strategy with its learning-rate search, then recommend.

    Fine-tunes and evaluates real models on Ray, writes every result into the run directory as it arrives, and ends
    with the bill and the recommendation. Ctrl-C stops it, a second Ctrl-C at once; the same command continues.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space. --dollars needs
    one of them, for each type of device of the cluster.
    """
    limits = budget_options(price, device_hours=device_hours, wall_hours=wall_hours, dollars=dollars)
    checked = raggrid.load_space(space, set_ or [], limits)
    from rich.console import Console

    from raggrid.display_names import told_compared, told_index, told_micro_batch
    from raggrid.show.layout import console
    from raggrid.show.live import screen_of
    from raggrid.show.printed_bill import show_bill
    from raggrid.show.printed_headroom import EarlyHeadroom
    from raggrid.show.printed_recommendation import show_recommendation
    from raggrid.store.kept import read_compared_texts, read_micro_batches
    from raggrid.store.tables import read_measured_index

    out = Console(quiet=as_json)
    observers: list[Observer] = [screen_of(out, plain=plain or not sys.stdout.isatty()), EarlyHeadroom(run, out)]
    say = partial(out.print, highlight=False)
    with said_as_options("price"):
        raggrid.search(
            checked,
            run,
            address=address,
            extend=extend,
            retry_failed=retry_failed,
            observers=() if as_json else observers,
            say=say,
        )
        paid = prices(price)  # of a complete study the run directory keeps the earlier one
        decision, spent = raggrid.recommend([run], price=paid), raggrid.bill(run, price=paid)
    if as_json:
        found = {"index": read_measured_index(run), "micro_batches": read_micro_batches(run)}
        compared = {"compared_texts": read_compared_texts(run)}
        print_json({**decision.to_json(), "bill": spent.to_json(), **found, **compared})
        return
    show_bill(spent, console())
    if measured := read_measured_index(run):
        out.print(told_index(measured), highlight=False)
    for row in read_micro_batches(run):
        out.print(told_micro_batch(row), highlight=False)
    for row in read_compared_texts(run):
        out.print(told_compared(row), highlight=False)
    show_recommendation(decision, console())
