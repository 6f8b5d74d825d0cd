"""A forest plot: every strategy's difference to the best of the others, with its interval and the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raggrid.analysis.recommendation import Compared, Recommendation
from raggrid.display_names import display_name, label
from raggrid.report.drawing import BAD, GOOD, OPEN, data

ROW = 34  # pixels of a strategy
CALLS = {"as_good": ("as good", GOOD), "worse": ("worse", BAD), "unresolved": ("unresolved", OPEN)}


def differences(verdict: Recommendation) -> list[dict[str, Any]]:
    """Rows of the plot in points of the metric, the best strategy first."""
    grouped = (("as_good", verdict.as_good), ("unresolved", verdict.unresolved), ("worse", verdict.worse))
    rows = [_row(line, call) for call, lines in grouped for line in lines]
    return sorted(rows, key=lambda row: -row["difference"])


def _row(line: Compared, call: str) -> dict[str, Any]:
    return {
        "strategy": display_name(line.strategy, line.loss), "call": CALLS[call][0],
        "difference": 100 * line.difference, "low": 100 * line.low, "high": 100 * line.high,
        "text": f"{100 * line.difference:+.1f} ({100 * line.low:+.1f} to {100 * line.high:+.1f})",
    }  # fmt: skip


def difference_chart(rows: Sequence[dict[str, Any]], verdict: Recommendation) -> Any:
    """Dots with intervals. The band is the margin: an interval that lies right of its left edge is as good."""
    import altair as alt

    margin = 100 * verdict.margin
    order = [row["strategy"] for row in rows]
    tooltip = ["strategy:N", "call:N", alt.Tooltip("text:N", title="difference and interval")]
    names, colours = zip(*CALLS.values(), strict=True)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("strategy:N", sort=order, title=None, axis=alt.Axis(labelLimit=140, grid=False, ticks=False)),
        color=alt.Color("call:N", scale=alt.Scale(domain=list(names), range=list(colours)),
                        legend=alt.Legend(title=None, orient="bottom")),
        tooltip=tooltip,
    )  # fmt: skip
    x = alt.X("difference:Q", title=f"points of {label(verdict.metric)} against the best of the others",
              axis=alt.Axis(format="+~f", tickCount=alt.expr("width < 480 ? 4 : 8")))  # fmt: skip
    within = alt.Chart(data([{"from": -margin, "to": margin}])).mark_rect(color="#d9e2ec", opacity=0.7)
    zero = alt.Chart(data([{"at": 0}])).mark_rule(color="#4b5563").encode(x="at:Q")
    return alt.layer(
        within.encode(x=alt.X("from:Q"), x2="to:Q"), zero,
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x),
    )  # fmt: skip
