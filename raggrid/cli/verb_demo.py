"""The verb that writes a small fictional world to try a search on: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.errors import InputError


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the world into.")],
    seed: Annotated[int, typer.Option(help="Another seed makes another world.")] = 0,
    entities: Annotated[
        int, typer.Option(metavar="N", help="People, places, works and creatures, 20 to 600; one passage each.")
    ] = 240,
    letters: Annotated[
        bool, typer.Option(help="Questions as letters, with the name and the town of who asks: what tuning can learn.")
    ] = True,
) -> None:
    """Write a small fictional world to try a search on: passages, questions, answers, labels.

    The folder is in the format that data.folder of a search space expects. Existing files with other content are never
    overwritten.
    """
    try:
        world = raggrid.make_world(seed, num_entities=entities, letters=letters)
        raggrid.write_world(world, folder)
    except ValueError as error:
        raise InputError(str(error).replace("num_entities", "--entities")) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}. Choose another folder.") from None
    sizes = ", ".join(f"{len(questions)} {split}" for split, questions in world.splits.items())
    print(f"{folder}: {len(world.passages)} passages; questions: {sizes}")
