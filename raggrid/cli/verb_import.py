"""The verb that turns a table of results into a run directory: import."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import said_as_options


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="A .csv or .json table, or the word paper for the paper's own tables."),
    ],
    run: Annotated[str, typer.Option(metavar="DIR", help="New folder for the records.")],
    dataset: Annotated[
        str | None, typer.Option(help="For the paper: hotpotqa or popqa. Default: both, in folders with these names.")
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(help="For the paper: a pipeline such as MiniLM+LLaMA3-8b. Default: the averages over its four."),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Number of questions behind the scores, if the table does not say.")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Number of devices behind the wall hours, if the table does not say. Default: 1."),
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="The scores are in percent, not fractions.")] = False,
) -> None:
    """Turn a table of results into a run directory for recommend, frontier and report.

    One row per strategy: strategy, loss, exact_match, f1, recall_at_k, device_hours (or hours and num_devices),
    search_device_hours, marginal_device_hours, embedder_lr, generator_lr, num_questions.

    A table has only means: whatever needs scores per question is reported as unknown.
    """
    from raggrid.published.importing import NEEDS_QUESTIONS, assumed, summary

    with said_as_options("dataset", "pipeline"):
        made = raggrid.import_results(
            source, run, dataset=dataset, pipeline=pipeline, num_questions=questions, num_devices=devices,
            percent=percent,
        )  # fmt: skip
    for place, table in made:
        print(summary(place, table))
        for sentence in assumed(table, devices):
            print(f"  {sentence}")
    print(NEEDS_QUESTIONS)
