"""A forest plot: every strategy's difference to the best of the others, with its interval and the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raggrid.analysis.recommendation import Recommendation
from raggrid.analysis.standings import LineStanding
from raggrid.display_names import display_name, label
from raggrid.report.axis_ranges import Span
from raggrid.report.drawing import BAD, GOOD, OPEN, data

ROW = 34  # pixels of a strategy
CALLS = {"as_good": ("as good", GOOD), "unresolved": ("unresolved", OPEN), "worse": ("worse", BAD)}


def difference_chart(verdict: Recommendation) -> Any:
    """Dots with intervals, the best line first. The band is the margin: an interval right of its left edge is as good.

    Lines that reach below those that may still be the best stand at the left edge with their numbers.
    """
    import altair as alt

    margin = 100 * verdict.margin
    span = _span(verdict.standings, margin)
    rows = [_row(line, span) for line in verdict.standings]
    names, colours = zip(*CALLS.values(), strict=True)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("strategy:N", sort=[row["strategy"] for row in rows], title=None,
                axis=alt.Axis(labelLimit=140, grid=False, ticks=False)),
        color=alt.Color("call:N", scale=alt.Scale(domain=list(names), range=list(colours)),
                        legend=alt.Legend(title=None, orient="bottom", symbolOpacity=1)),
        tooltip=["strategy:N", "call:N", alt.Tooltip("text:N", title="difference and interval")],
    )  # fmt: skip
    scale = alt.Scale(domain=[span.low, span.high], nice=False)
    x = alt.X("difference:Q", title=f"points of {label(verdict.metric)}, minus the best other", scale=scale,
              axis=alt.Axis(format="+~f", tickCount=alt.expr("width < 480 ? 4 : 8")))  # fmt: skip
    band = alt.Chart(data([{"from": -margin, "to": margin}])).mark_rect(color="#d9e2ec", opacity=0.7)
    zero = alt.Chart(data([{"at": 0}])).mark_rule(color="#4b5563").encode(x=alt.X("at:Q", scale=scale))
    inside, outside = base.transform_filter(alt.datum.inside), base.transform_filter(~alt.datum.inside)
    edge = alt.datum(span.low)
    return alt.layer(
        band.encode(x=alt.X("from:Q", scale=scale), x2="to:Q"), zero,
        inside.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        inside.mark_point(filled=True, size=110, opacity=1).encode(x=x),
        outside.mark_point(filled=True, size=90, opacity=1, shape="triangle-left", xOffset=6).encode(x=edge),
        outside.mark_text(align="left", dx=16, fontSize=12).encode(x=edge, text="text:N"),
    )  # fmt: skip


def _span(standings: Sequence[LineStanding], margin: float) -> Span:
    """The intervals of those that may still be the best, 0 and the margin."""
    rivals = [line for line in standings if line.contender]
    shown = rivals if len(rivals) > 1 else standings
    low = min(-1.5 * margin, *(100 * line.low for line in shown))
    high = max(1.5 * margin, *(100 * line.high for line in shown))
    room = 0.06 * (high - low) or 1.0
    return Span(low - room, high + room)


def _row(line: LineStanding, span: Span) -> dict[str, Any]:
    difference, low, high = (100 * value for value in (line.difference, line.low, line.high))
    return {
        "strategy": display_name(line.strategy, line.loss), "call": CALLS[line.verdict][0], "difference": difference,
        "low": low, "high": high, "text": f"{difference:+.1f} ({low:+.1f} to {high:+.1f})",
        "inside": low >= span.low,
    }  # fmt: skip
