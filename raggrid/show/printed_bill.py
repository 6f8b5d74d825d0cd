"""The bill of a study as text for a terminal of 80 columns."""

from __future__ import annotations

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
    """One line per category, then the sum: all devices, from the first second to the last."""
    unit = unit_for([result.total], result.device_types)
    table = new_table(f"The bill, in {unit.name}")
    table.add_column("for", no_wrap=True)
    table.add_column(unit.name, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, seconds in result.device_seconds.items():
        share = seconds / result.total if result.total else 0.0
        table.add_row(name, unit.text(seconds), f"{100 * share:.0f}%", MEANING[name])
    money = "" if result.dollars is None else f"${result.dollars:,.2f}"
    table.add_row("all", unit.text(result.total), "100%", money, style="bold")
    show_table(table, out)
    if len(result.by_device_type) > 1:
        parts = " and ".join(f"{unit.text(seconds)} on {name}" for name, seconds in result.by_device_type.items())
        out.print(f"All adds {parts}, whatever these devices cost; the money counts each at its price.",
                  highlight=False)  # fmt: skip
    if result.over_budget:
        out.print(f"The budget ended {result.over_budget} trials; a larger one continues them.", highlight=False)
