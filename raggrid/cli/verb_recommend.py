"""The verb that says what to deploy and what to use next time, from the records of a study: recommend."""

from __future__ import annotations

from typing import Any

import raggrid
from raggrid.cli.app import app
from raggrid.cli.judging import Worth, judging
from raggrid.cli.options import Json, Runs, print_json


@app.command()
@judging
def recommend(runs: Runs, options: dict[str, Any], *, worth: Worth = None, as_json: Json = False) -> None:
    """Say which trained pipeline to deploy and which strategy to use next time, from the records of a study.

    To deploy: the smallest expected loss, since all costs are spent. Next time: the cheapest strategy that is likely
    enough to be within the margin of the best. Each comes with a grade: shown, likely or open. Then the measured table,
    the differences with their intervals (a paired bootstrap over questions and seeds), what would settle them, and the
    price of a point. Studies need not be finished; several run directories are pooled.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    result = raggrid.recommend(runs, worth=worth, **options)
    if as_json:
        print_json(result.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_recommendation import show_recommendation

    show_recommendation(result, console())
