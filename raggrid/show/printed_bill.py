"""The bill of a study as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from raggrid.analysis.bill import Bill
from raggrid.analysis.units import unit_for
from raggrid.show.layout import new_table, show_table

MEANING = {
    "train": "training steps",
    "evaluate": "objectives of trials, and answering",
    "index": "embedding the corpus",
    "startup": "starting processes, loading models",
    "lost": "work that died with its process",
    "idle": "devices held with nothing to do",
}


def show_bill(result: Bill, out: Console) -> None:
    """A table per type of device: one line per category, then the sum, from the first second to the last."""
    several = len(result.by_device_type) > 1
    for device, parts in result.by_type_and_category.items() if several else [("", result.device_seconds)]:
        _show_part(device, parts, "" if several else _money(result), result.device_types, out)
    if several:
        out.print(_told_apart(result), highlight=False)
    if result.over_budget:
        out.print(f"The budget ended {result.over_budget} trials; a larger one continues them.", highlight=False)


def _show_part(device: str, parts: Mapping[str, float], money: str, types: Sequence[str], out: Console) -> None:
    total = sum(parts.values())
    unit = unit_for([total], [device] if device else types)
    table = new_table(f"The bill{f' of {device}' if device else ''}, in {unit.name}")
    table.add_column("for", no_wrap=True)
    table.add_column(unit.name, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, seconds in parts.items():
        share = seconds / total if total else 0.0
        table.add_row(name, unit.text(seconds), f"{100 * share:.0f}%", MEANING[name])
    table.add_row("all", unit.text(total), "100%", money, style="bold")
    show_table(table, out)


def _money(result: Bill) -> str:
    return "" if result.dollars is None else f"${result.dollars:,.2f}"


def _told_apart(result: Bill) -> str:
    names = " and ".join(result.by_device_type)
    if result.dollars is not None:
        return f"All of {names}, each at its price: {_money(result)}."
    return (
        f"Hours on {names} are not added up, since these devices cost different amounts. For the sum in dollars give "
        "each a price: --price TYPE=DOLLARS, or resources.dollars_per_device_hour."
    )
