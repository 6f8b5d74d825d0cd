"""A frontier as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raggrid.analysis.control_points import ControlPoint
from raggrid.analysis.frontier import Frontier, FrontierPoint
from raggrid.analysis.hypervolume import Hypervolume
from raggrid.analysis.search_curves import SearchCurve
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, study_names
from raggrid.show.layout import new_table, percent, show_table

SEARCHED = (
    "Best so far over the strategy's own pipelines, with trials in random order; -: none yet, since it is still in a "
    "search that it starts from."
)
CONTROLS = "◇: controls, to read the strategies against; never on a frontier and never a choice."
CENSORED = (
    "In parentheses: trials of the last search that were stopped early or not finalists, whose quality was not "
    "measured (censored). They count from worth nothing to as good as the worst finalist."
)


def show_frontier(result: Frontier, out: Console) -> None:
    """The points by cost, a dot marking the frontier; then what searching buys. One table per study."""
    units = _units(result)
    studies = study_names([point.run for point in result.points])
    for run, name in studies.items():
        unit = units[run]
        about = f"{label(result.metric)} (percent) against {result.cost} cost ({unit.name}); ● = on the frontier"
        points = [point for point in result.points if point.run == run]
        controls = [control for control in result.controls if control.run == run]
        show_table(_points(result, points, controls, unit, _title(about, name, studies)), out)
    volumes = (_volume(volume, studies, units[volume.run]) for volume in result.hypervolumes)
    for line in (*([CONTROLS] if result.controls else []), _basis(result), *volumes, *result.notes):
        _aside(out, line)
    for run, name in studies.items():
        about = f"Expected best validation {label(result.metric)} after part of the search ({units[run].name})"
        curves = [curve for curve in result.search_curves if curve.run == run]
        if curves:
            show_table(_searches(curves, units[run], _title(about, name, studies)), out)
    if result.search_curves:
        _aside(out, SEARCHED)
    if any(curve.num_censored for curve in result.search_curves):
        _aside(out, CENSORED)


def _units(result: Frontier) -> dict[str, Unit]:
    """One unit for all studies on the same types of device."""
    spent: dict[tuple[str, ...], list[float]] = {}
    for point in result.points:
        spent.setdefault(point.device_types, []).append(point.device_seconds)
    return {point.run: unit_for(spent[point.device_types], point.device_types) for point in result.points}


def _title(about: str, study: str, studies: dict[str, str]) -> str:
    return f"{study}: {about}" if len(studies) > 1 else about


def _aside(out: Console, line: str) -> None:
    out.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False), highlight=False)


def _points(
    result: Frontier, points: Sequence[FrontierPoint], controls: Sequence[ControlPoint], unit: Unit, title: str
) -> Table:
    level = f"{100 * result.confidence:g}%"
    table = new_table(title)
    table.add_column("", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    for name in ("cost", level, label(result.metric), level, "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in points:
        table.add_row(*_cells(point, unit), style="" if point.on_frontier else "dim")
    for control in controls:
        table.add_row(*_control_cells(control, unit), style="dim")
    return table


def _control_cells(control: ControlPoint, unit: Unit) -> list[str]:
    return [
        "◇", display_name(control.strategy, control.loss), unit.text(control.device_seconds), "",
        percent(control.quality), f"{percent(control.low)}-{percent(control.high)}", "",
    ]  # fmt: skip


def _cells(point: FrontierPoint, unit: Unit) -> list[str]:
    known = point.cost_interval != "unknown"
    spread = f"{unit.text(point.cost_low)}-{unit.text(point.cost_high)}" if known and point.device_seconds else ""
    chance = "" if point.frontier_probability is None else f"{100 * point.frontier_probability:.0f}%"
    return [
        "●" if point.on_frontier else "", display_name(point.strategy, point.loss), unit.text(point.device_seconds),
        spread, percent(point.quality), f"{percent(point.low)}-{percent(point.high)}", chance,
    ]  # fmt: skip


def _basis(result: Frontier) -> str:
    first, sources = result.points[0], {point.cost_interval for point in result.points if point.device_seconds}
    size = f"{first.num_questions:,} {first.split} questions" if first.num_questions else f"{first.split} split"
    costs = {
        "seeds": "cost intervals over seeds",
        "trials": "cost intervals from how seconds per step differ between trials",
        "unknown": "no cost interval: nothing was run twice",
    }
    chance = "; chance: of being on the frontier" if first.frontier_probability is not None else ""
    return f"{size}; {', '.join(costs[name] for name in sorted(sources)) or 'no costs'}{chance}."


def _volume(volume: Hypervolume, studies: dict[str, str], unit: Unit) -> str:
    name = f" of {studies[volume.run]}" if len(studies) > 1 else ""
    spread = "" if volume.low is None else f" ({percent(volume.low)}-{percent(volume.high)})"
    reference = f"budgets up to {unit.text(volume.reference_device_seconds)} {unit.name}"
    return (
        f"Hypervolume{name}: {percent(volume.value)}%{spread}, the mean best quality over {reference} "
        "(1.1 times the most expensive line on a frontier)."
    )


def _searches(curves: Sequence[SearchCurve], unit: Unit, title: str) -> Table:
    """The expected best at quarters of each strategy's search, with its lower and upper edge."""
    table = new_table(title)
    table.add_column("strategy", no_wrap=True)
    for name in ("trials", "whole", "after 1/4", "1/2", "3/4", "all"):
        table.add_column(name, justify="right", no_wrap=True)
    for curve in curves:
        table.add_row(*_milestones(curve, unit))
    return table


def _milestones(curve: SearchCurve, unit: Unit) -> list[str]:
    whole = curve.steps[-1].device_seconds
    trials = f"{curve.num_trials} ({curve.num_censored})" if curve.num_censored else str(curve.num_trials)
    cells = [display_name(curve.strategy, curve.loss), trials, unit.text(whole)]
    for share in (0.25, 0.5, 0.75, 1.0):
        # A trial that has not ended yet counts for nothing: take the last step that the budget reaches.
        step = [step for step in curve.steps if step.device_seconds <= share * whole * (1 + 1e-9)][-1]
        low, high = percent(step.low), percent(step.high)
        cells.append("-" if not step.is_own else low if low == high else f"{low}-{high}")
    return cells
