"""Verbs that read records alone: recommend, frontier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Cost, Json, MetricOption, Model, Runs, print_json, said_as_options


@app.command()
def recommend(
    runs: Runs,
    metric: MetricOption = "f1",
    cost: Annotated[
        Cost | None,
        typer.Option(
            metavar="COST",
            help="What cheapest means: search (the whole learning-rate search), final (training the chosen "
            "configuration once) or marginal (what it adds to a study that runs the others anyway). Default: search, "
            "or final with --known-learning-rates.",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(metavar="FRACTION", help="A difference that does not matter, as a fraction.")
    ] = 0.01,
    confidence: Annotated[float, typer.Option(metavar="FRACTION", help="Confidence of every verdict.")] = 0.95,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels", help="Whether you have context labels. Default: as recorded; assumed for a table."
        ),
    ] = None,
    known_learning_rates: Annotated[
        bool, typer.Option("--known-learning-rates", help="You know good learning rates and would not search.")
    ] = False,
    have: Annotated[
        Model | None,
        typer.Option(
            metavar="MODEL",
            help="generator or embedder, if it is tuned already: costs and the paper's rule then leave its phase out.",
        ),
    ] = None,
    max_device_hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Recommend nothing that costs more device-hours.")
    ] = None,
    max_dollars: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="Recommend nothing that costs more; needs a price.")
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(metavar="DOLLARS", help="Of a device-hour. Default: the space's, see above."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recommend a strategy from the records of a study, finished or not.

    Prints the cheapest strategy that is not measurably worse than the best, the paper's rule for your case, and the
    measured table: exact match, F1, recall, and the three costs. Verdicts come from a paired bootstrap over questions
    (and seeds). Several run directories are pooled.

    Money is counted at --price, by default at ``resources.dollars_per_device_hour`` of the space.
    """
    from raggrid.analysis.recommend import recommend as decide

    with said_as_options("metric", "cost", "margin", "confidence", "max_device_hours", "max_dollars", "price"):
        result = decide(
            runs,
            metric=metric,
            cost=cost.value if cost else None,
            margin=margin,
            confidence=confidence,
            labels=labels,
            known_learning_rates=known_learning_rates,
            have=have.value if have else None,
            max_device_hours=max_device_hours,
            max_dollars=max_dollars,
            price=price,
        )
    if as_json:
        print_json(result.to_json())
    else:
        from raggrid.show.layout import console
        from raggrid.show.printed_recommendation import show_recommendation

        show_recommendation(result, console())


@app.command()
def frontier(
    runs: Runs,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write .html, .png, .svg, .csv or .json. Repeatable."),
    ] = None,
    metric: MetricOption = "f1",
    cost: Annotated[
        Cost | None,
        typer.Option(
            metavar="COST",
            help="Which cost is on the axis: search, final or marginal. Default: search, or final for a table that "
            "says no other.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare cost and quality: which strategies no other beats on both.

    Several run directories stand side by side. A second view shows what searching buys: the expected best quality
    against the device time spent on trials. The HTML page is self-contained and opens without a network.
    """
    from raggrid.analysis.frontier import frontier as find

    written: list[Path] = []
    with said_as_options("metric", "cost"):
        result = find(runs, metric=metric, cost=cost.value if cost else None)
    if output:
        from raggrid.report.charts import save_frontier

        written = [path for name in output for path in save_frontier(result, name)]
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_frontier import show_frontier

    out = console()
    show_frontier(result, out)
    for path in written:
        out.print(f"Written: {path}", highlight=False)
