"""A plan as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raggrid.display_names import display_name
from raggrid.planning.plan import Plan, PlannedSearch
from raggrid.show.layout import new_table, show_table
from raggrid.show.printed_estimate import show_estimate, study_rows
from raggrid.space.rates import rate_text


def show_plan(result: Plan, out: Console) -> None:
    """The searches with their trials, what each strategy takes alone and adds, then the bill."""
    show_table(_search_table(result), out)
    show_table(_strategy_table(result), out)
    out.print()
    workers = "worker" if result.workers == 1 else "workers"
    out.print(
        f"{result.num_trials} trials and at most {result.num_steps:,} training steps on {result.workers} {workers} "
        f"each; {result.num_trials_unshared} trials and {result.num_steps_unshared:,} steps if every strategy ran "
        f"alone. Then at most {result.num_answerings_at_most} rounds of answering.{_seeds(result)} "
        "Early stopping and reused answers reduce this.",
        highlight=False,
    )
    for sentence in result.resolution.sentences if result.resolution else ():
        out.print(sentence, highlight=False)
    if result.pricing:
        show_estimate(result.pricing, out)
    elif result.unpriced_because:
        out.print(f"No bill: {result.unpriced_because}", highlight=False)


def show_plans(results: Sequence[Plan], out: Console) -> None:
    """Several studies, one line per study, and their sum."""
    show_table(study_rows(results), out)


def _seeds(result: Plan) -> str:
    more = result.num_trials_of_further_seeds
    return f" Further seeds add {more} trials and their answering." if more else ""


def _search_table(result: Plan) -> Table:
    table = new_table("Learning-rate searches; each starts once those that it needs have a winner")
    for name in ("search", "trials", "steps"):
        table.add_column(name, justify="left" if name == "search" else "right", no_wrap=True)
    for name in ("may stop at", "learning rates"):
        table.add_column(name)
    for search in result.searches:
        table.add_row(
            search.name,
            str(search.num_trials),
            f"{search.steps:,}",
            ", ".join(map(str, search.rungs)) or "-",
            _rates(search),
        )
    return table


def _rates(search: PlannedSearch) -> str:
    if search.rates_from:
        return "from two_phase's winners"
    pairs = ["/".join(rate_text(rate) for rate in pair if rate is not None) for pair in search.trials]
    if not pairs:
        return f"{search.num_trials} drawn during the search"
    return ", ".join(pairs) if len(pairs) <= 9 else f"{len(pairs)} pairs"


def _strategy_table(result: Plan) -> Table:
    table = new_table("Strategies, and the searches that they share")
    for name in ("strategy", "alone: trials", "steps", "adds trials"):
        table.add_column(name, justify="left" if name == "strategy" else "right", no_wrap=True)
    table.add_column("searches")
    for row in result.strategies:
        table.add_row(
            display_name(row.strategy, row.loss), str(row.num_trials_alone), f"{row.num_steps_alone:,}",
            str(row.num_trials_added),
            ", ".join(dict.fromkeys(name.partition("/")[0] for name in row.searches)),
        )  # fmt: skip
    return table
