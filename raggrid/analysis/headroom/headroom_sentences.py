"""The headroom in plain sentences, each with its interval."""

from __future__ import annotations

from collections.abc import Iterator

from raggrid.analysis.headroom.decomposition import Headroom, LineHeadroom, RecallCurve
from raggrid.analysis.headroom.paired_gaps import Gap
from raggrid.display_names import display_name, label
from raggrid.strategies import BASELINE, STRATEGIES


def headroom_sentences(found: Headroom, *, tuned: bool = True) -> tuple[str, ...]:
    """What is lost where: first of the un-tuned pipeline, then of the best line, then format and recall.

    ``tuned``: whether tuning has taken place; else the sentences say what it can win at most.
    """
    best = max(found.lines, key=lambda line: line.score)
    base = next((line for line in found.lines if line.strategy == BASELINE), None)
    shown = [line for line in dict.fromkeys((base, best)) if line]
    return (
        _scope(found),
        *(_of_line(line) for line in shown),
        *(_at_most(base) if base and not tuned else ()),
        *_format(found),
        *_recall(found),
    )


def _scope(found: Headroom) -> str:
    left = f"; {found.num_unlabelled:,} without labels are left out" if found.num_unlabelled else ""
    return (
        f"Headroom in {label(found.metric)}, over {found.num_questions:,} questions with labelled passages{left}; in "
        f"brackets {100 * found.confidence:g}% intervals over questions."
    )


def _of_line(line: LineHeadroom) -> str:
    name = display_name(line.strategy, line.loss)
    start = f"{name} scores {_points(line.score)}; with the labelled passages in its prompt {_points(line.bound)}. "
    missing = f"Of its {_points(line.missing.value)} missing points "
    reading = f"{_told(line.reading)} in reading"
    if line.retrieval.low > 0.0:
        return f"{start}{missing}{_told(line.retrieval)} are lost in retrieval and {reading}."
    return f"{start}{missing}{reading}; a loss in retrieval is not shown: {_told(line.retrieval)}."


def _at_most(base: LineHeadroom) -> Iterator[str]:
    """What a perfect embedder would win is known before one is tuned; what a generator would is not. A tuned generator
    may read more from better passages."""
    most = max(0.0, base.retrieval.high)
    yield (
        f"So with the un-tuned generator, tuning the embedder can win at most about {_points(most)} points; beside a "
        "tuned generator it may win more or less."
    )


def _format(found: Headroom) -> Iterator[str]:
    form = found.answer_format
    if form.not_equal:
        yield (
            f"Answer format: {_told(form.not_equal)} points of the un-tuned answers contain an accepted answer without "
            "being equal to it."
        )
    if form.few_shot:
        yield f"Solved examples in the prompt, without training, change the un-tuned score by {_told(form.few_shot)}."
    if form.generator:
        yield f"Tuning the generator alone changes it by {_told(form.generator)}."
    if form.exact and form.form:
        yield f"In exact match that is {_told(form.exact)}, of which {_told(form.form)} are answer format."


def _recall(found: Headroom) -> Iterator[str]:
    """Of the un-tuned embedder and of the tuned one that finds the most."""
    tuned = [each for each in found.recall_curves if STRATEGIES[each.strategy].embedder_phase]
    untuned = [each for each in found.recall_curves if not STRATEGIES[each.strategy].embedder_phase]
    best = max(tuned, key=lambda each: sum(each.recalls.values()), default=None)
    curves = [("un-tuned embedder", untuned[0])] if untuned else []
    curves += [(display_name(best.strategy, best.loss), best)] if best else []
    if curves:
        depths = ", ".join(map(str, curves[0][1].recalls))
        yield f"Recall at {depths}: {'; '.join(f'{name} {_curve(curve)}' for name, curve in curves)}."


def _curve(curve: RecallCurve) -> str:
    return ", ".join(_points(value) for value in curve.recalls.values())


def _told(gap: Gap) -> str:
    return f"{_points(gap.value)} ({_points(gap.low)} to {_points(gap.high)})"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
