"""A bill as text for a terminal of 80 columns: strategies, the whole study, other settings, memory and disk."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name
from raggrid.planning.estimate import Range, total
from raggrid.planning.plan import Plan
from raggrid.planning.pricing import Pricing
from raggrid.show.layout import new_table, show_table, told_time
from raggrid.show.printed_shapes import shape_rows, told_shape

GIGABYTE = 1e9


def show_estimate(pricing: Pricing, out: Console) -> None:
    """Costs by strategy, of the whole study, and of the study under other settings."""
    unit = _unit([pricing.bill.total_device_seconds], [pricing.device])
    for table in (_strategies(pricing, unit), _whole(pricing, unit), _choices(pricing, unit)):
        show_table(table, out)
    if pricing.shapes:
        show_table(shape_rows(pricing.shapes, unit), out)
    if told := told_shape(pricing.shapes):
        out.print(told, highlight=False)
    out.print()
    for line in (_memory(pricing), f"Checkpoints on disk: {_three(pricing.disk_bytes, GIGABYTE)} GB."):
        out.print(line, highlight=False)
    for note in pricing.notes:
        out.print(Text(note, style="dim"))


def study_rows(results: Sequence[Plan]) -> Table:
    """One line per study with its total, and their sum; studies without a bill show dashes."""
    priced = [plan.pricing for plan in results if plan.pricing]
    ranges = [pricing.bill.total_device_seconds for pricing in priced]
    unit = _unit([total(ranges)], [pricing.device for pricing in priced])
    table = new_table(f"Whole studies in {unit.name}; wall time in hours, expected")
    table.add_column("study", overflow="fold")
    for name in ("trials", "low", "expected", "high", "wall", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    for plan in results:
        pricing = plan.pricing
        if pricing is None:
            table.add_row(plan.name, str(plan.num_trials), *["-"] * 5)
            continue
        wall = f"{pricing.bill.wall_seconds.expected / 3600:,.1f}"
        table.add_row(
            plan.name, str(plan.num_trials), *_cells(pricing.bill.total_device_seconds, unit), wall, _money(pricing)
        )
    dollars = [pricing.total_dollars for pricing in priced if pricing.total_dollars]
    spent = f"{total(dollars).expected:,.0f}" if dollars else "-"
    trials = str(sum(plan.num_trials for plan in results))
    table.add_row("all", trials, *_cells(total(ranges), unit), "", spent, style="bold")
    return table


def _strategies(pricing: Pricing, unit: Unit) -> Table:
    table = new_table(f"What each strategy costs, in {unit.name} ({pricing.units.source})")
    table.add_column("strategy", no_wrap=True)
    heads = ["final", "search: low", "expected", "high", "marginal"]
    for name in [*heads, *(["dollars"] if pricing.money else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for index, row in enumerate(pricing.bill.strategies):
        cells = [
            display_name(row.strategy, row.loss), unit.text(row.final_device_seconds),
            *_cells(row.search_device_seconds, unit), unit.text(row.marginal_device_seconds.expected),
        ]  # fmt: skip
        if pricing.money:
            cells.append(f"{pricing.money[index].search_dollars.expected:,.2f}")
        table.add_row(*cells)
    return table


def _whole(pricing: Pricing, unit: Unit) -> Table:
    bill = pricing.bill
    table = new_table(f"The whole study on {pricing.num_devices} x {pricing.device}, in {unit.name}")
    for name in ("", "low", "expected", "high"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    index = Range(*(bill.index_device_seconds,) * 3)
    for name, amount in (
        ("training and evaluating", bill.training_device_seconds), ("answering", bill.answering_device_seconds),
        ("loading models", bill.startup_device_seconds), ("embedding the corpus", index),
    ):  # fmt: skip
        table.add_row(name, *_cells(amount, unit))
    table.add_row("all", *_cells(bill.total_device_seconds, unit), style="bold")
    if pricing.total_dollars:
        table.add_row("dollars", *_three(pricing.total_dollars, 1.0, digits=2).split(" / "))
    table.add_row("wall time", *(told_time(value) for value in _values(bill.wall_seconds)))
    return table


def _choices(pricing: Pricing, unit: Unit) -> Table:
    table = new_table(f"The whole study under other settings, in {unit.name}; * = as given")
    for name in ("", "setting", "trials", "low", "expected", "high", "wall time"):
        table.add_column(name, justify="left" if name in ("", "setting") else "right", no_wrap=True)
    for row in pricing.choices:
        cells = [
            row.name,
            str(row.num_trials),
            *_cells(row.total_device_seconds, unit),
            told_time(row.wall_seconds.expected),
        ]
        table.add_row("*" if row.chosen else "", *cells)
    return table


def _memory(pricing: Pricing) -> str:
    if not pricing.memory_bytes:
        return "Device memory: nothing is trained."
    phase, need = max(pricing.memory_bytes.items(), key=lambda item: item[1])
    limit = pricing.device_memory_bytes
    has = f" of {limit / GIGABYTE:.0f}" if limit else ""
    return f"Peak device memory: {need / GIGABYTE:.1f}{has} GB ({phase}).{_per_pass(pricing)}"


def _per_pass(pricing: Pricing) -> str:
    """Of the phases of the study that train a generator."""
    known = pricing.units.questions_per_pass
    told = [f"{name} {known[name]}" for name in pricing.memory_bytes if name in known]
    return f" Questions per pass: {', '.join(told)}." if told else ""


def _money(pricing: Pricing) -> str:
    return f"{pricing.total_dollars.expected:,.0f}" if pricing.total_dollars else "-"


def _unit(ranges: Sequence[Range], devices: Sequence[str]) -> Unit:
    return unit_for([amount.high for amount in ranges], devices)


def _values(amount: Range) -> tuple[float, float, float]:
    return amount.low, amount.expected, amount.high


def _cells(amount: Range, unit: Unit) -> list[str]:
    return [unit.text(value) for value in _values(amount)]


def _three(amount: Range, scale: float, *, digits: int = 1) -> str:
    return " / ".join(f"{value / scale:,.{digits}f}" for value in _values(amount))
