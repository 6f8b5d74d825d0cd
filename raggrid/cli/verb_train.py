"""The verb that runs one phase in this process: train."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Override, Space, said_as_options
from raggrid.strategies import PHASES, RAG_LOSSES


@app.command()
def train(
    space: Space,
    phase: Annotated[str, typer.Option(metavar="NAME", help=f"What to train: {', '.join(PHASES)}.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="A new folder, or one that SPACE was trained into.")
    ],
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS", help=f"{' or '.join(RAG_LOSSES)}, for a RAG phase. Default: losses.phases of the space."
        ),
    ] = None,
    embedder_lr: Annotated[
        float | None, typer.Option(metavar="RATE", help="Learning rate of the embedder, where the phase trains it.")
    ] = None,
    generator_lr: Annotated[
        float | None, typer.Option(metavar="RATE", help="Learning rate of the generator, where the phase trains it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Order of the questions, and fresh adapters.")] = 0,
    set_: Override = None,
) -> None:
    """Train one phase with one learning rate per model: no search, no Ray.

    Prints the loss on the way, the objective and the recall before and after, and where the tuned model lies: a folder
    that sentence-transformers, transformers or peft load. What the phase does not train is the un-tuned model of SPACE.

    A killed run continues with the same command. DIR is a run directory: `raggrid.load_run` reads its curves.
    """
    checked = raggrid.load_space(space, set_ or [])
    from rich.console import Console

    from raggrid.worker.process import WORKER_SETTINGS

    for name, value in WORKER_SETTINGS.items():
        os.environ.setdefault(name, value)
    say = partial(Console(soft_wrap=True).print, highlight=False, markup=False)
    with said_as_options("phase", "loss", "embedder_lr", "generator_lr"):
        raggrid.train(
            checked, output, phase=phase, loss=loss, embedder_lr=embedder_lr, generator_lr=generator_lr, seed=seed,
            say=say,
        )  # fmt: skip
