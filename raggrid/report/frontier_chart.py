"""Cost against quality as charts: one for all studies, or one for each type of device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raggrid.analysis.control_points import ControlPoint
from raggrid.analysis.frontier import Frontier, FrontierPoint
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, study_names
from raggrid.report.axis_ranges import Span, cost_span, quality_span
from raggrid.report.drawing import ACCENT, GREY, OPEN, data, decades
from raggrid.report.label_places import Labelled, LabelPlace, label_places
from raggrid.space.rates import rate_text
from raggrid.strategies import STRATEGIES

STATES = ("on the frontier", "dominated", "control")
BELOW, INSIDE, ABOVE = "below", "inside", "above"  # where a point lies, seen from the axis of the contenders
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


def subtitle(frontier: Frontier, first: FrontierPoint) -> list[str]:
    """How to read a panel, from its first point: questions and intervals; marks."""
    size = f"{first.num_questions:,} {first.split} questions" if first.num_questions else f"{first.split} questions"
    kind = "over questions" if first.frontier_probability is not None else "as wide as means alone allow"
    seeds = " and seeds" if first.num_seeds > 1 else ""
    return [f"{size}; {100 * frontier.confidence:g}% intervals {kind}{seeds}.", " ".join(_marks(frontier, first))]


def _marks(frontier: Frontier, first: FrontierPoint) -> Iterator[str]:
    yield "Dashed: the frontier."
    if frontier.margin:
        yield f"Shaded: up to {100 * frontier.margin:g} below the best."
    controls = _controls_of(frontier, first.device_types)
    if controls:
        gold = any(STRATEGIES[control.strategy].given_labelled for control in controls)
        yield f"Hollow: controls, never a choice{' (gold: given the labelled passages)' if gold else ''}."
    yield "Triangles: beyond this axis."


def _panel(
    frontier: Frontier, points: Sequence[FrontierPoint], unit: Unit, names: Mapping[str, str], log_cost: bool
) -> Any:
    import altair as alt

    x, y = _spans(points, unit, log_cost)
    rows = _rows((*points, *_controls_of(frontier, points[0].device_types)), unit, names, x, y)
    several = len({row["study"] for row in rows}) > 1
    base = alt.Chart().encode(
        x=alt.X("x:Q", title=f"{frontier.cost} cost ({unit.name})", scale=_scale(x), axis=_cost_axis(x)),
        color=_colour(several),
    )
    height = alt.Y("quality:Q", title=f"{label(frontier.metric)} (percent)", scale=_scale(y))
    on_it, is_control = alt.datum.state == STATES[0], alt.datum.state == STATES[2]
    inside = base.transform_filter(alt.datum.side == INSIDE)
    dots = inside.transform_filter(~is_control)
    layers = [
        *_band(frontier, points, y),
        base.transform_filter(on_it).mark_line(
            interpolate="step-after", strokeDash=[5, 4], clip=True, strokeWidth=1.5, opacity=0.7
        ).encode(y=height, detail="study:N"),
        dots.mark_rule(opacity=0.35, strokeWidth=2).encode(x="cost_low:Q", x2="cost_high:Q", y=height),
        dots.mark_rule(opacity=0.55, strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q"),
        dots.mark_point(filled=True, size=110, opacity=1).encode(y=height, tooltip=_tooltip(unit)),
        inside.transform_filter(is_control).mark_point(size=70, shape="diamond", strokeWidth=1.5, opacity=1)
        .encode(y=height, tooltip=_tooltip(unit)),
        *_beyond(base, unit, y),
        *_texts(base, height, y),
    ]  # fmt: skip
    return alt.layer(*layers, data=data(rows)).properties(height=HEIGHT)


def _controls_of(frontier: Frontier, devices: tuple[str, ...]) -> tuple[ControlPoint, ...]:
    return tuple(control for control in frontier.controls if control.device_types == devices)


def _band(frontier: Frontier, points: Sequence[FrontierPoint], y: Span) -> Iterator[Any]:
    """The margin below the best line of each study: what lies in it is as good for the user."""
    import altair as alt

    best: dict[str, float] = {}
    for point in points:
        best[point.run] = max(100 * point.quality, best.get(point.run, 0.0))
    ends = [{"high": top, "low": max(top - 100 * frontier.margin, y.low)} for top in best.values()]
    if frontier.margin:
        yield (
            alt.Chart(data(ends))
            .mark_rect(color="#d9e2ec", opacity=0.7)
            .encode(y=alt.Y("low:Q", scale=_scale(y)), y2="high:Q")
        )


def _beyond(base: Any, unit: Unit, y: Span) -> Iterator[Any]:
    """Triangles at the edge that a point lies beyond, hollow for controls."""
    import altair as alt

    for side, shape, shift, end in ((BELOW, "triangle-down", -5, y.low), (ABOVE, "triangle-up", 5, y.high)):
        marks = base.transform_filter(alt.datum.side == side)
        for is_control in (False, True):
            mine = marks.transform_filter((alt.datum.state == STATES[2]) == is_control)
            yield mine.mark_point(
                filled=not is_control, size=80, shape=shape, strokeWidth=1.5, opacity=1, yOffset=shift
            ).encode(y=alt.datum(end), tooltip=_tooltip(unit))


def _spans(points: Sequence[FrontierPoint], unit: Unit, log_cost: bool) -> tuple[Span, Span]:
    lows, highs = ([getattr(point, name) / unit.seconds for point in points] for name in ("cost_low", "cost_high"))
    costs = [point.device_seconds / unit.seconds for point in points]
    x = cost_span([low or cost for low, cost in zip(lows, costs, strict=True)], highs, log=log_cost)
    return x, quality_span([(100 * point.low, 100 * point.high) for point in points])


def _rows(
    points: Sequence[FrontierPoint | ControlPoint], unit: Unit, names: Mapping[str, str], x: Span, y: Span
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


def _row(point: FrontierPoint | ControlPoint, unit: Unit, names: Mapping[str, str], x: Span, y: Span) -> dict[str, Any]:
    name, cost = display_name(point.strategy, point.loss), point.device_seconds / unit.seconds
    short = name.replace("gold_context_", "gold: ").replace("gold_context", "gold")  # a phone has no room for more
    side = BELOW if 100 * point.quality < y.low else ABOVE if 100 * point.quality > y.high else INSIDE
    free = " (no cost)" if x.log and not cost else ""
    return {
        "study": names[point.run], "strategy": name, "x": max(cost, x.low), "cost": cost,
        "label": f"{short}{free}" if side == INSIDE else f"{short}{free} {100 * point.quality:.1f}",
        "quality": 100 * point.quality, "low": max(100 * point.low, y.low), "high": min(100 * point.high, y.high),
        "side": side, "interval": f"{100 * point.low:.1f} to {100 * point.high:.1f}",
        **_of_kind(point, unit, x),
    }  # fmt: skip


def _of_kind(point: FrontierPoint | ControlPoint, unit: Unit, x: Span) -> dict[str, Any]:
    """What a strategy has and a control has not."""
    if isinstance(point, ControlPoint):
        cost = point.device_seconds / unit.seconds
        return {"state": STATES[2], "cost_low": cost, "cost_high": cost, "probability": None, "rates": "-"}
    return {
        "cost_low": max(point.cost_low / unit.seconds, x.low), "cost_high": point.cost_high / unit.seconds,
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
    return alt.Color("state:N", legend=None, scale=alt.Scale(domain=STATES, range=[ACCENT, GREY, OPEN]))


def _texts(base: Any, height: Any, y: Span) -> Iterator[Any]:
    """The labels, each over a white copy of itself that keeps lines from running through it."""
    import altair as alt

    place = {name: alt.expr(f"width < {WIDE[0]} ? datum.narrow.{name} : datum.wide.{name}") for name in vars(_NOWHERE)}
    shared = {**place, "baseline": "middle", "fontSize": 12}
    for side, up in {INSIDE: height, BELOW: alt.datum(y.low), ABOVE: alt.datum(y.high)}.items():
        shown = base.transform_filter(alt.datum.side == side)
        halo = shown.mark_text(**shared, stroke="white", strokeWidth=4, strokeJoin="round", aria=False)
        yield halo.encode(text="label:N", color=alt.value("white"), y=up)
        yield shown.mark_text(**shared).encode(text="label:N", y=up)


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
