"""The verb that says what to deploy and what to use next time, from the records of a study: recommend."""

from __future__ import annotations

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import (
    JUDGING,
    Confidence,
    CostOption,
    Have,
    Json,
    KnownLearningRates,
    Labels,
    Margin,
    MaxDeviceHours,
    MaxDollars,
    MetricOption,
    Price,
    Runs,
    Worth,
    prices,
    print_json,
    said_as_options,
)


@app.command()
def recommend(
    runs: Runs,
    metric: MetricOption = None,
    cost: CostOption = None,
    margin: Margin = 0.01,
    confidence: Confidence = 0.95,
    labels: Labels = None,
    known_learning_rates: KnownLearningRates = False,
    have: Have = None,
    max_device_hours: MaxDeviceHours = None,
    max_dollars: MaxDollars = None,
    price: Price = None,
    worth: Worth = None,
    as_json: Json = False,
) -> None:
    """Say which trained pipeline to deploy and which strategy to use next time, from the records of a study.

    To deploy: the smallest expected loss, since all costs are spent. Next time: the cheapest strategy that is likely
    enough to be within the margin of the best. Each comes with a grade: shown, likely or open. Then the measured table,
    the differences with their intervals (a paired bootstrap over questions and seeds), what would settle them, and the
    price of a point. Studies need not be finished; several run directories are pooled.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    with said_as_options(*JUDGING):
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
            price=prices(price),
            worth=worth,
        )
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_recommendation import show_recommendation

    show_recommendation(result, console())
