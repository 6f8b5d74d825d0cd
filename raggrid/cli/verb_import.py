"""The verb that makes a run directory of other people's results: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import said_as_options


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="A .csv or .json table, or the word paper for the paper's own tables."),
    ],
    run: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the records.")],
    dataset: Annotated[
        str | None, typer.Option(help="Of the paper: hotpotqa or popqa. Default: both, in folders of these names.")
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(help="Of the paper: such as MiniLM+LLaMA3-8b. Default: the averages over its four pipelines."),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="How many questions the scores are means of, if the table does not say.")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="How many devices its hours are wall hours of, if it does not say. Default: 1."),
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Its scores are in percent, not fractions.")] = False,
) -> None:
    """Make a run directory of a table of results, to recommend from and to draw.

    One row a strategy: strategy, loss, exact_match, f1, recall_at_k, device_hours (or hours and num_devices),
    search_device_hours, marginal_device_hours, embedder_lr, generator_lr, num_questions.

    A table has means only: what scores by question would be needed for is then said to be unknown.
    """
    from raggrid.published.importing import NEEDS_QUESTIONS, assumed, import_results, summary

    with said_as_options("dataset", "pipeline"):
        made = import_results(
            source, run, dataset=dataset, pipeline=pipeline, num_questions=questions, num_devices=devices,
            percent=percent,
        )  # fmt: skip
    for place, table in made:
        print(summary(place, table))
        for sentence in assumed(table, devices):
            print(f"  {sentence}")
    print(NEEDS_QUESTIONS)
