"""The verb that examines a cluster: doctor."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Cluster, Json, print_json


@app.command()
def doctor(
    address: Cluster = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Run directory to try from every node: a folder, or an address such as s3://."
        ),
    ] = None,
    engine: Annotated[
        Literal["transformers", "vllm"], typer.Option(help="What is to answer there, as answer.engine of a space.")
    ] = "transformers",
    as_json: Json = False,
) -> None:
    """Examine a cluster before a study does: what is wrong on which node, and how to fix it.

    Every node says its versions, devices and drivers, memory, disk and clock; reads what is written in the run
    directory here, and the other way round; and one device of each kind trains a few steps. The columns storage
    (read/write) and step are in milliseconds.

    The exit code is 1 if something keeps studies from working, 0 otherwise. Nothing is left in the run directory.
    """
    result = raggrid.doctor(address, run, engine=engine, say=lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print_json(result.to_json())
    else:
        from raggrid.show.layout import console
        from raggrid.show.printed_diagnosis import show_diagnosis

        show_diagnosis(result, console())
    if not result.is_healthy:
        raise typer.Exit(1)
