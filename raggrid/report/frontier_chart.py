"""Cost against quality as charts: one for all studies, or one for each type of device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raggrid.analysis.frontier import Frontier, FrontierPoint
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, study_names
from raggrid.report.axis_ranges import Span, cost_span, quality_span
from raggrid.report.drawing import ACCENT, GREY, data, decades
from raggrid.report.label_places import Labelled, LabelPlace, label_places
from raggrid.space.rates import rate_text

STATES = ("on the frontier", "dominated")
HEIGHT = 380
# Pixels that plots are wide on a laptop or paper, and on a phone. Labels are placed for both.
WIDE, NARROW = (560, 640, 720, 840, 1000), (250, 290, 340, 420, 560)


def frontier_charts(frontier: Frontier, *, log_cost: bool = False) -> Iterator[tuple[str, FrontierPoint, Any]]:
    """(title, first point, chart) of each panel: costs of different types of device do not stand on one axis."""
    names = study_names([point.run for point in frontier.points])
    groups: dict[tuple[str, ...], list[FrontierPoint]] = {}
    for point in frontier.points:
        groups.setdefault(point.device_types, []).append(point)
    for devices, points in groups.items():
        title = ", ".join(devices) if len(groups) > 1 else ""
        unit = unit_for((point.device_seconds for point in points), devices)
        yield title, points[0], _panel(frontier, points, unit, names, log_cost)


def subtitle(frontier: Frontier, first: FrontierPoint) -> str:
    """How to read a panel, from its first point: questions, intervals, marks."""
    size = f"{first.num_questions:,} {first.split} questions" if first.num_questions else f"{first.split} questions"
    kind = "over questions" if first.frontier_probability is not None else "as wide as means alone allow"
    seeds = " and seeds" if first.num_seeds > 1 else ""
    level = f"{100 * frontier.confidence:g}%"
    return f"{size}; {level} intervals {kind}{seeds}; dashed: the frontier; triangles: far below this axis"


def _panel(
    frontier: Frontier, points: Sequence[FrontierPoint], unit: Unit, names: Mapping[str, str], log_cost: bool
) -> Any:
    import altair as alt

    x, y = _spans(points, unit, log_cost)
    rows = _rows(points, unit, names, x, y)
    several = len({row["study"] for row in rows}) > 1
    base = alt.Chart(data(rows)).encode(
        x=alt.X("x:Q", title=f"{frontier.cost} cost ({unit.name})", scale=_scale(x), axis=_cost_axis(x)),
        color=_colour(several),
    )
    height = alt.Y("quality:Q", title=f"{label(frontier.metric)} (percent)", scale=_scale(y))
    inside, on_it = alt.datum.inside, alt.datum.state == STATES[0]
    dots = base.transform_filter(inside)
    layers = [
        base.transform_filter(on_it).mark_line(
            interpolate="step-after", strokeDash=[5, 4], clip=True, strokeWidth=1.5, opacity=0.7
        ).encode(y=height, detail="study:N"),
        dots.mark_rule(opacity=0.35, strokeWidth=2).encode(x="cost_low:Q", x2="cost_high:Q", y=height),
        dots.mark_rule(opacity=0.55, strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q"),
        dots.mark_point(filled=True, size=110, opacity=1).encode(y=height, tooltip=_tooltip(unit)),
        base.transform_filter(~inside).mark_point(filled=True, size=90, shape="triangle-down", opacity=1, yOffset=-5)
        .encode(y=alt.datum(y.low), tooltip=_tooltip(unit)),
        *_texts(base, height, y),
    ]  # fmt: skip
    return alt.layer(*layers).properties(height=HEIGHT)


def _spans(points: Sequence[FrontierPoint], unit: Unit, log_cost: bool) -> tuple[Span, Span]:
    lows, highs = ([getattr(point, name) / unit.seconds for point in points] for name in ("cost_low", "cost_high"))
    costs = [point.device_seconds / unit.seconds for point in points]
    x = cost_span([low or cost for low, cost in zip(lows, costs, strict=True)], highs, log=log_cost)
    return x, quality_span([(100 * point.low, 100 * point.high) for point in points])


def _rows(
    points: Sequence[FrontierPoint], unit: Unit, names: Mapping[str, str], x: Span, y: Span
) -> list[dict[str, Any]]:
    rows = [_row(point, unit, names, x, y) for point in points]
    marks = [
        Labelled(x.place(row["x"]), y.place(row["quality"]), row["label"], y.place(row["low"]), y.place(row["high"]))
        for row in rows
    ]
    for name, widths in (("wide", WIDE), ("narrow", NARROW)):
        places = label_places(marks, widths=widths, height=HEIGHT)
        rows = [{**row, name: vars(place)} for row, place in zip(rows, places, strict=True)]
    return rows


def _row(point: FrontierPoint, unit: Unit, names: Mapping[str, str], x: Span, y: Span) -> dict[str, Any]:
    name, cost = display_name(point.strategy, point.loss), point.device_seconds / unit.seconds
    inside = 100 * point.high >= y.low and 100 * point.quality >= y.low
    free = " (no cost)" if x.log and not cost else ""
    return {
        "study": names[point.run], "strategy": name, "x": max(cost, x.low), "cost": cost,
        "label": f"{name}{free}" if inside else f"{name}{free} {100 * point.quality:.1f}",
        "cost_low": max(point.cost_low / unit.seconds, x.low), "cost_high": point.cost_high / unit.seconds,
        "quality": 100 * point.quality, "low": max(100 * point.low, y.low), "high": 100 * point.high, "inside": inside,
        "interval": f"{100 * point.low:.1f} to {100 * point.high:.1f}",
        "state": STATES[0] if point.on_frontier else STATES[1],
        "probability": point.frontier_probability,
        "rates": f"embedder {rate_text(point.embedder_lr)}, generator {rate_text(point.generator_lr)}",
    }  # fmt: skip


def _scale(span: Span) -> Any:
    import altair as alt

    kind: dict[str, Any] = {"type": "log"} if span.log else {"zero": False}
    return alt.Scale(domain=[span.low, span.high], nice=False, **kind)


def _cost_axis(span: Span) -> Any:
    import altair as alt

    kind = {"values": decades(span.low, span.high)} if span.log else {"tickCount": alt.expr("width < 480 ? 4 : 8")}
    return alt.Axis(format=",~f", labelOverlap=True, **kind)


def _colour(several: bool) -> Any:
    """One study: grey for dominated points. Several: one colour per study."""
    import altair as alt

    if several:
        return alt.Color("study:N", title="study", legend=alt.Legend(orient="bottom"))
    return alt.Color("state:N", legend=None, scale=alt.Scale(domain=STATES, range=[ACCENT, GREY]))


def _texts(base: Any, height: Any, y: Span) -> Iterator[Any]:
    """The labels, each over a white copy of itself that keeps lines from running through it."""
    import altair as alt

    place = {name: alt.expr(f"width < {WIDE[0]} ? datum.narrow.{name} : datum.wide.{name}") for name in vars(_NOWHERE)}
    shared = {**place, "baseline": "middle", "fontSize": 12}
    for inside in (True, False):
        shown = base.transform_filter(alt.datum.inside if inside else ~alt.datum.inside)
        up = {"y": height} if inside else {"y": alt.datum(y.low)}
        halo = shown.mark_text(**shared, stroke="white", strokeWidth=4, strokeJoin="round", aria=False)
        yield halo.encode(text="label:N", color=alt.value("white"), **up)
        yield shown.mark_text(**shared).encode(text="label:N", **up)


_NOWHERE = LabelPlace(0, 0, "left")


def _tooltip(unit: Unit) -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("strategy:N"), alt.Tooltip("study:N"), alt.Tooltip("quality:Q", format=".1f"),
        alt.Tooltip("interval:N"), alt.Tooltip("cost:Q", format=",.2f", title=f"cost, {unit.name}"),
        alt.Tooltip("cost_low:Q", format=",.2f", title="cost, low"),
        alt.Tooltip("cost_high:Q", format=",.2f", title="cost, high"),
        alt.Tooltip("state:N"), alt.Tooltip("probability:Q", format=".0%", title="chance of being on the frontier"),
        alt.Tooltip("rates:N", title="learning rates"),
    ]  # fmt: skip
