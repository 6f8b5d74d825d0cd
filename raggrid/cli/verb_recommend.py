"""The verb that says what to deploy and what to use next time, from the records of a study: recommend."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
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
            help="Cost that decides which strategy is cheapest: search (the whole learning-rate search), final "
            "(training the chosen configuration once) or marginal (what it adds to a study that runs the others "
            "anyway). Default: search, or final with --known-learning-rates.",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(metavar="FRACTION", help="Largest difference that does not matter, as a fraction.")
    ] = 0.01,
    confidence: Annotated[float, typer.Option(metavar="FRACTION", help="Confidence of every verdict.")] = 0.95,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Whether you have context labels. Default: as recorded; for an imported table, that you have them.",
        ),
    ] = None,
    known_learning_rates: Annotated[
        bool, typer.Option("--known-learning-rates", help="You know good learning rates and would not search.")
    ] = False,
    have: Annotated[
        Model | None,
        typer.Option(
            metavar="MODEL",
            help="Model that is already tuned, generator or embedder: costs and the paper's rule leave its phase out.",
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
        typer.Option(metavar="DOLLARS", help="Price of one device-hour in dollars. Default: the space's, see above."),
    ] = None,
    worth: Annotated[
        float | None,
        typer.Option(
            metavar="DOLLARS",
            help="What a point of the metric is worth: recommend the highest expected net benefit, and whether "
            "more questions or seeds pay. Needs a price.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which trained pipeline to deploy and which strategy to use next time, from the records of a study.

    To deploy: the smallest expected loss, since all costs are spent. Next time: the cheapest strategy that is likely
    enough to be within the margin of the best. Each comes with a grade: shown, likely or open. Then the measured table,
    the differences with their intervals (a paired bootstrap over questions and seeds), what would settle them, and the
    price of a point. Studies need not be finished; several run directories are pooled.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    with said_as_options("metric", "cost", "margin", "confidence", "max_device_hours", "max_dollars", "price", "worth"):
        result = raggrid.recommend(
            runs,
            metric=metric,
            cost=cost,
            margin=margin,
            confidence=confidence,
            labels=labels,
            known_learning_rates=known_learning_rates,
            have=have,
            max_device_hours=max_device_hours,
            max_dollars=max_dollars,
            price=price,
            worth=worth,
        )
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_recommendation import show_recommendation

    show_recommendation(result, console())
