"""What searching buys as small multiples: one panel per strategy, the others in grey behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raggrid.analysis.frontier import Frontier
from raggrid.analysis.search_curves import SearchCurve
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, study_names
from raggrid.report.drawing import ACCENT, GREY, data

HEIGHT = 150
DASHED = "Dashed: still paying for the searches that it starts from. Grey: the other strategies."
CENSORED = (
    "Bands: trials that were stopped early or are not finalists are censored; they count from worth nothing to as good "
    "as the worst finalist."
)


def search_charts(frontier: Frontier) -> Iterator[tuple[str, Any]]:
    """(title, chart) of each strategy of each study; those on the same types of device are on the same axes."""
    names = study_names([curve.run for curve in frontier.search_curves])
    for unit, curves in _groups(frontier):
        end = max(step.device_seconds for curve in curves for step in curve.steps) / unit.seconds
        rows = {place: list(_rows(curve, unit)) for place, curve in enumerate(curves)}
        for place, curve in enumerate(curves):
            others = [{**row, "curve": other} for other, found in rows.items() if other != place for row in found]
            yield _title(curve, names), _panel(rows[place], others, unit, end)


def notes(frontier: Frontier) -> list[str]:
    """The sentences that explain the panels."""
    units = " or ".join(dict.fromkeys(unit.name for unit, _ in _groups(frontier)))
    axes = (
        f"Expected best {label(frontier.metric)} (percent, validation) of the strategy's own pipelines after so many "
        f"{units} of searching, trials in random order."
    )
    return [axes, DASHED, *([CENSORED] if any(curve.num_censored for curve in frontier.search_curves) else ())]


def _groups(frontier: Frontier) -> Iterator[tuple[Unit, list[SearchCurve]]]:
    """The curves by types of device, whose times do not compare, each with its unit."""
    devices = {point.run: point.device_types for point in frontier.points}
    groups: dict[tuple[str, ...], list[SearchCurve]] = {}
    for curve in frontier.search_curves:
        groups.setdefault(devices[curve.run], []).append(curve)
    for types, curves in groups.items():
        yield unit_for((step.device_seconds for curve in curves for step in curve.steps), types), curves


def _title(curve: SearchCurve, names: Mapping[str, str]) -> str:
    name = display_name(curve.strategy, curve.loss)
    return f"{names[curve.run]}: {name}" if len(names) > 1 else name


def _rows(curve: SearchCurve, unit: Unit) -> Iterator[dict[str, Any]]:
    """Steps; the last one before the strategy's own search begins both parts of its line."""
    first = next((place for place, step in enumerate(curve.steps) if step.is_own), len(curve.steps))
    for place, step in enumerate(curve.steps):
        row = {
            "cost": step.device_seconds / unit.seconds, "low": 100 * step.low, "high": 100 * step.high,
            "search": step.search or "nothing yet", "trials": step.num_trials,
        }  # fmt: skip
        if place < first:
            yield {**row, "own": False}
        if place >= first - 1:
            yield {**row, "own": True}


def _panel(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], unit: Unit, end: float) -> Any:
    import altair as alt

    scores = [row[name] for row in (*rows, *others) for name in ("low", "high")]
    room = 0.06 * (max(scores) - min(scores)) or 1.0
    x = alt.X("cost:Q", title=None, scale=alt.Scale(domain=[0, end * 1.03], nice=False),
              axis=alt.Axis(tickCount=4, grid=False))  # fmt: skip
    y = alt.Y("low:Q", title=None, axis=alt.Axis(tickCount=4),
              scale=alt.Scale(domain=[min(scores) - room, max(scores) + room], nice=False))  # fmt: skip
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    behind = alt.Chart(data(others)).transform_filter(alt.datum.own)
    own, before = base.transform_filter(alt.datum.own), base.transform_filter(~alt.datum.own)
    tooltip = [
        alt.Tooltip("search:N", title="current search"), alt.Tooltip("trials:Q"),
        alt.Tooltip("cost:Q", format=",.2f", title=unit.name), alt.Tooltip("low:Q", format=".1f", title="at least"),
        alt.Tooltip("high:Q", format=".1f", title="at most"),
    ]  # fmt: skip
    # Steps, since half a trial counts for nothing.
    step: dict[str, Any] = {"interpolate": "step-after"}
    return alt.layer(
        behind.mark_line(**step, color=GREY, opacity=0.35, strokeWidth=1.2).encode(x=x, y=y, detail="curve:N"),
        before.mark_line(**step, color=ACCENT, strokeDash=[3, 3], strokeWidth=1.5),
        own.mark_area(**step, opacity=0.2, color=ACCENT).encode(y2="high:Q"),
        own.mark_line(**step, color=ACCENT, strokeWidth=2.5),
        own.mark_point(filled=True, size=36, color=ACCENT).encode(tooltip=tooltip),
    ).properties(height=HEIGHT)
