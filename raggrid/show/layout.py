"""What all tables share: the console, their layout, how numbers are written."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNLIMITED = 100_000  # columns: more than any line has


def console() -> Console:
    """The console for results. In a pipe lines are not wrapped, so that a sentence can be searched for."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=UNLIMITED)


def new_table(title: str) -> Table:
    """A table without rules, two spaces between its columns."""
    return Table(title=title, box=None, pad_edge=False, header_style="bold", padding=(0, 1))


def show_table(table: Table, out: Console) -> None:
    """A blank line, the title and the table.

    The title is a separate line: rich would wrap it at the table's width. If columns do not fit, they are set one space
    apart before any cell is truncated.
    """
    title, table.title = table.title, None
    needed = Measurement.get(out, out.options.update(width=UNLIMITED), table).maximum
    table.collapse_padding = needed > out.width and all(column.no_wrap for column in table.columns)
    out.print()
    out.print(title, style="table.title", markup=False, highlight=False)
    out.print(table)


def percent(fraction: float | None) -> str:
    """A fraction in percent with one digit; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def told_time(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours >= 100:
        return f"{seconds / 3600:,.0f} h"
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"
