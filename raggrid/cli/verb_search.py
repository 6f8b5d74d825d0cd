"""Verbs that run something or prepare it: search, demo."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Json, Override, Space, budget_options, print_json


@app.command()
def search(
    space: Space,
    run: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder for the records, new or of the same study; on a cluster, a shared one."
        ),
    ],
    set_: Override = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="Existing Ray cluster: HOST:PORT, or auto. Default: start one here."),
    ] = None,
    extend: Annotated[
        bool, typer.Option(help="Accept a space that only adds to the one in DIR, and run just what is new.")
    ] = False,
    device_hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Budget: hours of all devices together.")
    ] = None,
    wall_hours: Annotated[float | None, typer.Option(metavar="HOURS", help="Budget: hours by the clock.")] = None,
    dollars: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="Budget in money; needs a price, see above.")
    ] = None,
    plain: Annotated[bool, typer.Option(help="One line an event instead of a live table.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study: every strategy with its learning-rate search, then recommend.

    Fine-tunes and evaluates real models on Ray, keeps every result in the run directory as it comes, and ends with
    the bill and the recommendation. Ctrl-C stops it, a second one at once; the same command continues.

    Money is counted at ``resources.dollars_per_device_hour`` of the space, which --dollars needs.
    """
    from rich.console import Console

    from raggrid.analysis.bill import bill
    from raggrid.analysis.recommend import recommend as decide
    from raggrid.backend.ray.search import search as run_search
    from raggrid.cli.verb_recommend import recommend
    from raggrid.show.layout import console
    from raggrid.show.live import screen_of
    from raggrid.show.printed_bill import show_bill
    from raggrid.space.yaml_io import load_space

    limits = budget_options(device_hours=device_hours, wall_hours=wall_hours, dollars=dollars)
    checked = load_space(space, set_ or [], limits)
    out = Console(quiet=as_json)
    observers = [] if as_json else [screen_of(out, plain=plain or not sys.stdout.isatty())]
    say = partial(out.print, highlight=False)
    run_search(checked, run, address=address, extend=extend, observers=observers, say=say)
    if as_json:
        print_json({**decide([run]).to_json(), "bill": bill(run).to_json()})
        return
    show_bill(bill(run), console())
    recommend([run])


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the world into.")],
    seed: Annotated[int, typer.Option(help="Another seed makes another world.")] = 0,
    entities: Annotated[
        int, typer.Option(metavar="N", help="People, places, works and creatures, 20 to 600; one passage each.")
    ] = 240,
) -> None:
    """Write a small fictional world to try a search on: passages, questions, answers, labels.

    The folder is in the format that data.folder of a search space expects. Other files of its names are left alone.
    """
    from raggrid.demo import make_world, write_world
    from raggrid.errors import InputError

    try:
        world = make_world(seed, num_entities=entities)
        write_world(world, folder)
    except ValueError as error:
        raise InputError(str(error).replace("num_entities", "--entities")) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}. Choose another folder.") from None
    sizes = ", ".join(f"{len(questions)} {split}" for split, questions in world.splits.items())
    print(f"{folder}: {len(world.passages)} passages; questions: {sizes}")
