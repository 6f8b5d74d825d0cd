"""The verb that writes a study's trials into an experiment tracker: track."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.space.tracking_targets import TARGETS


@app.command()
def track(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search, finished or not.")],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="TRACKER",
            help=f"{', '.join(f'{kind}:{place}' for kind, place in TARGETS.items())}. Repeatable.",
        ),
    ],
) -> None:
    """Write the trials of a study into TensorBoard, MLflow, Weights & Biases or Trackio.

    One run per trial, with its learning rates, its curve, its logged steps and the scores of the pipelines that it is
    part of. Its id never changes: writing again adds what is new and makes no second run.

    The setting ``tracking`` of the space does the same while a search runs. Needs raggrid[tracking].
    """
    for target in to:
        count = raggrid.track(run, target)
        print(f"{target}: {count} trials of {run}")
