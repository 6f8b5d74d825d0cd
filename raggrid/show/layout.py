"""What all tables have in common: where they go, how they look, how numbers are written."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNLIMITED = 100_000  # columns: more than any line has


def console() -> Console:
    """Where results go. Lines are not wrapped in a pipe: a sentence is one of them, as programs search for it."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=UNLIMITED)


def new_table(title: str) -> Table:
    """A table without lines, two blanks between its columns."""
    return Table(title=title, box=None, pad_edge=False, header_style="bold", padding=(0, 1))


def show_table(table: Table, out: Console) -> None:
    """A blank line, the title and the table.

    The title is a line of its own: rich would wrap it at the table's width. Columns that would not fit stand one blank
    apart, before any cell is cut.
    """
    title, table.title = table.title, None
    needed = Measurement.get(out, out.options.update(width=UNLIMITED), table).maximum
    table.collapse_padding = needed > out.width and all(column.no_wrap for column in table.columns)
    out.print()
    out.print(title, style="table.title", markup=False, highlight=False)
    out.print(table)


def percent(fraction: float | None) -> str:
    """A fraction in percent with one digit; a dash for none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
