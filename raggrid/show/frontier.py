"""A frontier as text for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console

from raggrid.analysis.frontier import Frontier
from raggrid.analysis.names import display_name, label, study_names
from raggrid.analysis.units import unit_for
from raggrid.show.tables import new_table, percent


def show_frontier(result: Frontier, out: Console) -> None:
    """The points by cost; a dot marks the frontier."""
    unit = unit_for((point.device_seconds for point in result.points), result.device_types)
    first = result.points[0]
    title = f"{label(result.metric)} in percent against {result.cost} cost in {unit.name}; ● = on the frontier"
    table = new_table(title)
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
