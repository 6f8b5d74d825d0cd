"""A recommendation as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raggrid.analysis.judging.answer_sentences import share
from raggrid.analysis.recommend import Recommendation, TableRow
from raggrid.analysis.standings import LineStanding, MoreData
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, recall_label
from raggrid.show.layout import new_table, percent, show_table
from raggrid.show.printed_headroom import show_headroom

MARKS = {
    "as_good": ("as good", "green"), "worse": ("worse", "red"), "unresolved": ("unresolved", "yellow"),
    "out_of_reach": ("out of reach", "dim"),
}  # fmt: skip
COSTS = ("final_device_seconds", "search_device_seconds", "marginal_device_seconds")


def show_recommendation(result: Recommendation, out: Console) -> None:
    """Both answers first, then the table and the differences that they rest on, then the warnings."""
    chosen, now = result.recommended, result.deploy
    if now:
        seed = f", seed {now.seed}" if result.num_seeds > 1 else ""
        _headline(out, "Deploy now", f"{display_name(now.strategy, now.loss)}{seed}", now.grade)
        _indented(out, now.reason)
    if chosen:
        _headline(out, "Next time", display_name(chosen.strategy, chosen.loss), chosen.grade)
        for line in (chosen.reason, chosen.caveat, chosen.next_step):
            _indented(out, line)
    else:
        _headline(out, "Next time", "no strategy fits your case", "")
        _indented(out, result.none_because or "")
    for better in result.out_of_reach[:1]:
        _indented(out, better.sentence)
    _indented(out, _rule_line(result))
    show_table(_score_table(result), out)
    _indented(out, result.costs["caveat"])
    if result.control_rows:
        show_table(_control_table(result), out)
    if len(result.standings) > 1:
        show_table(_difference_table(result), out)
    grounds = result.grounds.sentences if result.grounds else ()
    for line in (*_legend(result), *_columns_explained(result), *grounds):
        _indented(out, line)
    _prices(result, out)
    for line in (*_controls(result), *_labels(result), *result.notes):
        _indented(out, line)
    show_headroom(result.headroom.sentences if result.headroom else (), out)
    for warning in result.warnings:
        out.print(Text.assemble(("Warning: ", "yellow"), warning), highlight=False)


def _headline(out: Console, question: str, answer: str, grade: str) -> None:
    out.print()
    out.print(
        Text.assemble(f"{question}: ", (answer, "bold green" if grade else "bold"), f"  ({grade})" if grade else "")
    )


def _indented(out: Console, line: str) -> None:
    if line:
        out.print(Padding(Text(line), (0, 0, 0, 2), expand=False), highlight=False)


def _rule_line(result: Recommendation) -> str:
    verb = "The paper's rule agrees" if result.agrees else f"The paper's rule says {result.rule.strategy}"
    return f"{verb}. {result.rule.because} {result.disagreement}".rstrip()


def _score_table(result: Recommendation) -> Table:
    known = [value for row in result.table for name in COSTS if (value := getattr(row, name)) is not None]
    unit = unit_for(known, result.costs["device_types"])
    columns = [name for name in COSTS if any(getattr(row, name) is not None for row in result.table)]
    table = new_table(_title(result, unit))
    table.add_column("strategy", no_wrap=True)
    metrics = _metrics(result)
    for name in (*metrics.values(), *(name.partition("_")[0] for name in columns)):
        table.add_column(name, justify="right", no_wrap=True)
    contains = _contains(result)
    if contains:
        table.columns[1].header = "EM (has)"
    table.add_column("verdict", no_wrap=True)
    by_cost = sorted(result.table, key=lambda row: _order(row, result.costs["decided_by"]))
    for row in by_cost:
        style = "bold" if _is_chosen(row, result) else ""
        table.add_row(*_cells(row, unit, list(metrics), columns, contains), style=style)
    return table


def _control_table(result: Recommendation) -> Table:
    """Their scores alone, since none of them is a choice."""
    table = new_table("Controls, to read the strategies against; never a choice")
    metrics, contains = _metrics(result), _contains(result)
    table.add_column("control", no_wrap=True)
    for name in metrics.values():
        table.add_column(name, justify="right", no_wrap=True)
    if contains:
        table.columns[1].header = "EM (has)"
    for row in result.control_rows:
        table.add_row(display_name(row.strategy, row.loss), *_scores(row, list(metrics), contains))
    return table


def _metrics(result: Recommendation) -> dict[str, str]:
    """The header of each column of scores."""
    metrics = {"exact_match": "EM", "f1": "F1", "recall_at_k": recall_label(result.table[0].k)}
    metrics.setdefault(result.metric, label(result.metric))
    return metrics


def _contains(result: Recommendation) -> bool:
    """Whether to show how often answers contain an accepted one: not beside a column of another metric, for room."""
    usual = result.metric in ("exact_match", "f1", "recall_at_k")
    return usual and any(row.contains_answer is not None for row in result.table)


def _order(row: TableRow, basis: str) -> float:
    return float(getattr(row, f"{basis}_device_seconds") or 0.0)


def _title(result: Recommendation, unit: Unit) -> str:
    size = f"{result.num_questions:,} {result.split} questions" if result.num_questions else f"{result.split} split"
    seeds = f", {result.num_seeds} seeds" if result.num_seeds > 1 else ""
    tuned = f", {result.case['have']} tuned already" if result.case["have"] else ""
    return f"{size}{seeds}; percent; {unit.name}{tuned}; verdict on {label(result.metric)}"


def _cells(row: TableRow, unit: Unit, metrics: list[str], columns: list[str], contains: bool) -> list[str | Text]:
    costs = ["-" if (value := getattr(row, name)) is None else unit.text(value) for name in columns]
    scores = _scores(row, metrics, contains)
    return [display_name(row.strategy, row.loss), *scores, *costs, Text(*MARKS[row.verdict])]


def _scores(row: TableRow, metrics: list[str], contains: bool) -> list[str]:
    scores = [percent(row.scores[name]) for name in metrics]
    scores[0] += f" ({percent(row.contains_answer)})" if contains else ""
    return scores


def _is_chosen(row: TableRow, result: Recommendation) -> bool:
    chosen = result.recommended
    return chosen is not None and (row.strategy, row.loss) == (chosen.strategy, chosen.loss)


def _legend(result: Recommendation) -> Iterator[str]:
    if _contains(result):
        yield "EM (has): exact match, and how often the prediction contains an accepted answer."


def _difference_table(result: Recommendation) -> Table:
    margin = f"{100 * result.margin:g}"
    table = new_table(f"Points of {label(result.metric)} against the best of the others; margin {margin}")
    table.add_column("strategy", no_wrap=True)
    names = ("points", f"{100 * result.confidence:g}% interval", f"within {margin}", "loss")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    settling = any(row.settled_by for row in result.standings)
    if settling:
        table.add_column("settled by", no_wrap=True)
    for row in result.standings:
        table.add_row(
            display_name(row.strategy, row.loss), f"{100 * row.difference:+.1f}",
            f"{100 * row.low:+.1f} to {100 * row.high:+.1f}", share(row.probability), f"{100 * row.expected_loss:.1f}",
            *([_settling(row)] if settling else []),
        )  # fmt: skip
    return table


def _settling(row: LineStanding) -> str:
    if not row.settled_by:
        return "-"
    plan = row.settled_by[0]
    kind = "" if plan.kind == "questions" else f" {plan.kind}"
    ends = dict.fromkeys((compact(plan.low), compact(plan.high)))  # once where they are equal
    return f"{'-'.join(ends)}{kind}: {'worse' if plan.call == 'worse' else 'as good'}"


def compact(count: int) -> str:
    """A number of questions in few characters: 950, 1.2k, 63k."""
    return str(count) if count < 1_000 else f"{count / 1_000:.1f}k" if count < 10_000 else f"{count / 1_000:,.0f}k"


def _columns_explained(result: Recommendation) -> Iterator[str]:
    if len(result.standings) < 2:
        return
    yield f"within {100 * result.margin:g}: probability of being at most that far below the best."
    yield "loss: points below the best, in expectation."
    if any(row.settled_by for row in result.standings):
        yield "settled by: with how many questions half to four fifths of such studies settle it, and which way."


def _prices(result: Recommendation, out: Console) -> None:
    steps = [*(step.sentence for step in result.point_prices), *(own.sentence for own in _more_data(result))]
    if steps:
        out.print()
        out.print("The price of a point", style="table.title", highlight=False)
    for line in steps:
        _indented(out, line)


def _more_data(result: Recommendation) -> tuple[MoreData, ...]:
    return result.worth.more_data if result.worth else ()


def _controls(result: Recommendation) -> Iterator[str]:
    """One sentence for both controls, so that nobody mistakes format and guessing for retrieval."""
    constant, closed = result.controls.constant_answer, result.controls.closed_book
    parts = []
    if constant:
        scores = f"{percent(constant.exact_match)} EM, {percent(constant.f1)} F1"
        quoted = f' ("{constant.answers[0]}")' if len(constant.answers) == 1 else ""
        parts.append(f"the most frequent training answer for the question's first word{quoted} scores {scores}")
    if closed:
        scores = f"{percent(closed.exact_match)} EM, {percent(closed.f1)} F1"
        parts.append(f"a generator tuned without passages scores {scores} (closed_book)")
    if parts:
        yield f"Without retrieval, {'; '.join(parts)}."


def _labels(result: Recommendation) -> Iterator[str]:
    if result.label_value:
        yield result.label_value.sentence
