"""Recommendations, frontiers and plans as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raggrid.analysis.frontier import Frontier
from raggrid.analysis.names import display_name, label, study_names
from raggrid.analysis.plan import Plan, PlannedSearch
from raggrid.analysis.recommend import Compared, Recommendation, TableRow
from raggrid.analysis.units import Unit, unit_for

MARKS = {"as_good": ("as good", "green"), "worse": ("worse", "red"), "unresolved": ("unresolved", "yellow")}


def console() -> Console:
    """Where results go; lines are not wrapped in a pipe."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=max(100, plain.width))


def show_recommendation(result: Recommendation, out: Console) -> None:
    """The answer first, then the table that it rests on, then what to mind."""
    chosen = result.recommended
    out.print()
    if chosen:
        out.print(Text.assemble("Recommended: ", (display_name(chosen.strategy, chosen.loss), "bold green"),
                                f"  ({chosen.grade})"))  # fmt: skip
        out.print(Padding(chosen.reason, (0, 0, 0, 2), expand=False), highlight=False)
    else:
        out.print("[bold]No strategy that your case allows was measured.[/]")
    out.print(Padding(_rule_line(result), (0, 0, 0, 2), expand=False), highlight=False)
    out.print()
    out.print(_score_table(result))
    for line in _pairs(result):
        out.print(Padding(line, (0, 0, 0, 2), expand=False), highlight=False)
    for warning in result.warnings:
        out.print(Text.assemble(("Mind: ", "yellow"), warning), highlight=False)


def _rule_line(result: Recommendation) -> str:
    verb = "The paper's rule agrees" if result.agrees else f"The paper's rule says {result.rule.strategy}"
    return f"{verb}. {result.rule.because}{_rule_measured(result)}"


def _rule_measured(result: Recommendation) -> str:
    if result.agrees or result.recommended is None:
        return ""
    for grade, rows in (
        ("as good as the best", result.as_good),
        ("worse", result.worse),
        ("unresolved", result.unresolved),
    ):
        for row in rows:
            if row.strategy == result.rule.strategy:
                return f" Measured here it is {grade}, and dearer than {result.recommended.strategy}."
    return " It was not measured here."


def _score_table(result: Recommendation) -> Table:
    columns = ("final_device_seconds", "search_device_seconds", "marginal_device_seconds")
    seconds = [getattr(row, name) for row in result.table for name in columns]
    unit = unit_for(seconds, result.costs["device_types"])
    title = f"{result.num_questions} {result.split} questions; scores in percent, costs in {unit.name}"
    table = _table(title)
    table.add_column("strategy", no_wrap=True)
    k = result.table[0].k
    for name in ("EM", "F1", f"R@{k}", "final", "search", "marginal"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"{label(result.metric)} verdict", no_wrap=True)
    for row in sorted(result.table, key=lambda row: row.search_device_seconds):
        table.add_row(*_cells(row, unit, columns), style="bold" if _is_chosen(row, result) else "")
    return table


def _cells(row: TableRow, unit: Unit, columns: tuple[str, ...]) -> list[str | Text]:
    scores = [percent(value) for value in (row.exact_match, row.f1, row.recall_at_k)]
    costs = [unit.text(getattr(row, name)) for name in columns]
    return [display_name(row.strategy, row.loss), *scores, *costs, Text(*MARKS[row.verdict])]


def _is_chosen(row: TableRow, result: Recommendation) -> bool:
    chosen = result.recommended
    return chosen is not None and (row.strategy, row.loss) == (chosen.strategy, chosen.loss)


def percent(fraction: float | None) -> str:
    """A fraction in percent with one digit; a dash for none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _pairs(result: Recommendation) -> Iterator[str]:
    level = f"{100 * result.confidence:g}%"
    for row in result.unresolved:
        if row.questions_needed and row.difference < 0:
            yield (
                f"{display_name(row.strategy, row.loss)}: {_points(row)}, {level} interval {_interval(row)}; "
                f"about {row.questions_needed:,} questions would settle it."
            )


def _points(row: Compared) -> str:
    return f"{100 * row.difference:+.1f} points to the best"


def _interval(row: Compared) -> str:
    return f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"


def show_frontier(result: Frontier, out: Console) -> None:
    """The points by cost; a dot marks the frontier."""
    unit = unit_for((point.device_seconds for point in result.points), result.device_types)
    first = result.points[0]
    title = f"{label(result.metric)} in percent against {result.cost} cost in {unit.name}; ● = on the frontier"
    table = _table(title)
    studies = study_names([point.run for point in result.points])
    several = len(studies) > 1
    if several:
        table.add_column("study", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    for name in ("cost", label(result.metric), "95% interval", "chance of frontier"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in result.points:
        cells = [
            "●" if point.on_frontier else "", display_name(point.strategy, point.loss), unit.text(point.device_seconds),
            percent(point.quality), f"{percent(point.low)} to {percent(point.high)}",
            f"{100 * point.frontier_probability:.0f}%",
        ]  # fmt: skip
        table.add_row(*([studies[point.run]] if several else []), *cells,
                      style="" if point.on_frontier else "dim")  # fmt: skip
    out.print()
    out.print(table)
    out.print(f"{first.num_questions} {first.split} questions", style="dim")


def show_plan(result: Plan, out: Console) -> None:
    """The searches with their trials, then what each strategy takes alone and adds."""
    out.print()
    out.print(_search_table(result))
    out.print()
    out.print(_strategy_table(result))
    out.print()
    workers = "worker" if result.workers == 1 else "workers"
    out.print(
        f"{result.num_trials} trials and at most {result.num_steps:,} training steps on {result.workers} {workers} "
        f"each; {result.num_trials_unshared} trials and {result.num_steps_unshared:,} steps if every strategy ran "
        f"alone. Then at most {result.num_answerings_at_most} rounds of answering. Early stopping makes it less.",
        highlight=False,
    )


def _search_table(result: Plan) -> Table:
    table = _table("Learning-rate searches; each starts when those above it that it needs have a winner")
    for name in ("search", "trials", "steps", "may stop at"):
        table.add_column(name, justify="right" if name in ("trials", "steps") else "left", no_wrap=True)
    table.add_column("learning rates")
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
        return "the pair that two_phase finds"
    pairs = ["/".join(f"{rate:g}" for rate in pair if rate is not None) for pair in search.trials]
    return ", ".join(pairs) if len(pairs) <= 9 else f"{len(pairs)} pairs"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 1))


def _strategy_table(result: Plan) -> Table:
    table = _table("Strategies, and the searches that they share")
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
