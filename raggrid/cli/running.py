"""Verbs that run something or prepare it: search, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Json, Override, Space


@app.command()
def search(
    space: Space,
    run: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the records; on a cluster, a shared one.")],
    set_: Override = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="Existing Ray cluster: HOST:PORT, or auto. Default: start one here."),
    ] = None,
    plain: Annotated[bool, typer.Option(help="One line an event instead of a live table.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study: every strategy with its learning-rate search, then recommend.

    Fine-tunes and evaluates real models on Ray, keeps every result in the run directory as it comes, and ends with
    the recommendation. Ctrl-C stops it; what is finished stays readable.
    """
    from raggrid.cli.reading import recommend
    from raggrid.search.study import run_study
    from raggrid.space_yaml import load_space

    checked = load_space(space, set_ or [])
    run_study(checked, run, address=address, plain=plain or not sys.stdout.isatty(), quiet=as_json)
    recommend([run], as_json=as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the world into.")],
    seed: Annotated[int, typer.Option(help="Another seed makes another world.")] = 0,
    entities: Annotated[int, typer.Option(help="People, places, works and creatures; one passage each.")] = 240,
) -> None:
    """Write a small fictional world to try a search on: passages, questions, answers, labels.

    The folder is in the format that data.folder of a search space expects.
    """
    from raggrid.demo import make_world, write_world
    from raggrid.errors import InputError

    try:
        world = make_world(seed, num_entities=entities)
        write_world(world, folder)
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}. Choose another folder.") from None
    sizes = ", ".join(f"{len(questions)} {split}" for split, questions in world.splits.items())
    print(f"{folder}: {len(world.passages)} passages; questions: {sizes}")
