"""Where points are lost, as bars with intervals: in retrieval or in reading by line, and what is answer format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from raggrid.analysis.headroom.decomposition import AnswerFormat, Headroom
from raggrid.analysis.headroom.paired_gaps import Gap
from raggrid.display_names import display_name, label
from raggrid.report.drawing import ACCENT, GREY, OPEN, data

BAR, ROW = 15, 44  # pixels of a bar and of a line with its two bars
LOST = {"lost in retrieval": OPEN, "lost in reading": ACCENT}
GAINED = {"score": GREY, "answer format": OPEN}
Bars = Sequence[tuple[str, str, Gap]]


def loss_chart(found: Headroom) -> Any:
    """Two bars per line, the best line first: both add up to what it misses. Its score is beside its name."""
    ordered = sorted(found.lines, key=lambda line: -line.score)
    bars = [
        (f"{display_name(line.strategy, line.loss)}|scores {100 * line.score:.1f}", kind, gap)
        for line in ordered
        for kind, gap in zip(LOST, (line.retrieval, line.reading), strict=True)
    ]
    return _bars(bars, LOST, f"points of {label(found.metric)} lost", side_by_side=True).properties(
        height=ROW * len(ordered)
    )


def format_chart(found: Headroom) -> Any | None:
    """What examples and tuning add to the un-tuned score, and how much is the form of answers; None if unknown."""
    bars = list(_format_bars(found.answer_format, label(found.metric)))
    return _bars(bars, GAINED, "points", side_by_side=False).properties(height=ROW * len(bars)) if bars else None


def _format_bars(form: AnswerFormat, metric: str) -> Iterator[tuple[str, str, Gap]]:
    rows = (
        ("baseline: answer|given, but not alone", "answer format", form.not_equal),
        (f"examples in the|prompt, {metric}", "score", form.few_shot),
        (f"tuning the|generator, {metric}", "score", form.generator),
        ("tuning the|generator, EM", "score", form.exact),
        ("of which is|answer format", "answer format", form.form),
    )
    for name, kind, gap in rows:
        if gap and not (name.endswith(", EM") and metric == "EM"):
            yield name, kind, gap


def _bars(bars: Bars, colours: dict[str, str], title: str, *, side_by_side: bool) -> Any:
    """Bars from 0 with the interval of their end, and the number in front of both."""
    import altair as alt

    rows = [_row(*bar) for bar in bars]
    names = list(dict.fromkeys(name for name, _, _ in bars))
    lowest, highest = min(0.0, *(row["low"] for row in rows)), max(row["high"] for row in rows)
    reach = highest - lowest or 1.0
    low = lowest - (0.04 * reach if lowest < 0 else 0)
    scale = alt.Scale(domain=[low, highest + 0.2 * reach], nice=False)
    offset: dict[str, Any] = {"yOffset": alt.YOffset("kind:N", sort=list(colours))} if side_by_side else {}
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("name:N", sort=names, title=None, scale=alt.Scale(paddingInner=0.25, paddingOuter=0.1),
                axis=alt.Axis(labelExpr="split(datum.label, '|')", labelLimit=150, labelPadding=6,
                              grid=False, ticks=False)),
        color=alt.Color("kind:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())),
                        legend=alt.Legend(title=None, orient="bottom")),
        tooltip=["name:N", "kind:N", alt.Tooltip("text:N", title="points and interval")],
        **offset,
    )  # fmt: skip
    x = alt.X(
        "value:Q", title=title, scale=scale, axis=alt.Axis(format="~f", tickCount=alt.expr("width < 480 ? 4 : 8"))
    )
    zero = alt.Chart(data([{"at": 0}])).mark_rule(color="#4b5563").encode(x=alt.X("at:Q", scale=scale))
    ends = base.encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    return alt.layer(
        base.mark_bar(size=BAR, opacity=0.75).encode(x=x), zero,
        ends.mark_rule(strokeWidth=1.5).encode(color=alt.value("#1c2430")),
        base.mark_text(align="left", dx=5, fontSize=12, fontWeight=600)
        .encode(x=alt.X("front:Q", scale=scale), text=alt.Text("value:Q", format=".1f")),
    )  # fmt: skip


def _row(name: str, kind: str, gap: Gap) -> dict[str, Any]:
    value, low, high = (100 * end for end in (gap.value, gap.low, gap.high))
    return {
        "name": name, "kind": kind, "value": value, "low": low, "high": high, "front": max(high, 0.0),
        "text": f"{value:.1f} ({low:.1f} to {high:.1f})",
    }  # fmt: skip
