"""What all tables have in common: where they go, how they look, how numbers are written."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Where results go; lines are not wrapped in a pipe."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=max(100, plain.width))


def new_table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 1))


def percent(fraction: float | None) -> str:
    """A fraction in percent with one digit; a dash for none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
