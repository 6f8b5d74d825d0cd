"""The verb that replays a recorded study under other settings: simulate."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import (
    DeviceHours,
    Dollars,
    Json,
    Override,
    PriceOption,
    Space,
    WallHours,
    budget_options,
    print_json,
    said_as_options,
)


@app.command()
def simulate(
    space: Space,
    curves: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Recorded curves: a run directory of raggrid search, or a table in .csv or .parquet."
        ),
    ],
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Concurrent trials. Default: resources.max_concurrent_trials, else as recorded."
        ),
    ] = None,
    set_: Override = None,
    device_hours: DeviceHours = None,
    wall_hours: WallHours = None,
    dollars: Dollars = None,
    price: PriceOption = None,
    as_json: Json = False,
) -> None:
    """Show what early stopping, sharing and budgets would have saved on a recorded study.

    Replays its curves through raggrid's own search on a virtual clock: no training, no Ray cluster, nothing written.

    A table has one row per evaluation: phase, loss, embedder_lr, generator_lr, step, objective, device_seconds
    (training so far) and, where known, seed, evaluate_seconds (of this evaluation) and f1.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space. --dollars needs
    one of them.
    """
    limits = budget_options(price, device_hours=device_hours, wall_hours=wall_hours, dollars=dollars)
    checked = raggrid.load_space(space, set_ or [], limits)
    with said_as_options("price"):
        result = raggrid.simulate(checked, curves, slots=slots)
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_simulation import show_simulation

    show_simulation(result, console())
