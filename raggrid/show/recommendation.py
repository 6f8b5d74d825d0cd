"""A recommendation as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raggrid.analysis.names import display_name, label
from raggrid.analysis.recommend import Compared, Recommendation, TableRow
from raggrid.analysis.units import Unit, unit_for
from raggrid.show.tables import new_table, percent

MARKS = {"as_good": ("as good", "green"), "worse": ("worse", "red"), "unresolved": ("unresolved", "yellow")}


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
    table = new_table(title)
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
