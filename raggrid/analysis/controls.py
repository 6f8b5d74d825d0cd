"""What a pipeline would score without retrieval: the most frequent answer, and a generator that sees no passages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from raggrid.analysis.results import Results, StrategyResult
from raggrid.display_names import label
from raggrid.evaluation.metrics import METRICS


@dataclass(frozen=True)
class ConstantAnswer:
    """The training questions' most frequent answers, given without reading anything. Scores in [0, 1].

    ``answers``: the different ones, one for each first word that questions begin with (who, where, what ...).
    ``scores``: by metric, as far as the study measured them.
    """

    answers: tuple[str, ...]
    exact_match: float
    f1: float
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ClosedBook:
    """A generator tuned and asked without passages. Scores in [0, 1], over all seeds."""

    exact_match: float | None
    f1: float | None
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Controls:
    """Read every score against these; None where the study has not measured one."""

    constant_answer: ConstantAnswer | None
    closed_book: ClosedBook | None


def controls_of(results: Sequence[Results], closed_book: StrategyResult | None) -> Controls:
    """The controls of one or more studies, weighted by their questions."""
    scores = closed_book.means() if closed_book else {}
    book = ClosedBook(scores["exact_match"], scores["f1"], scores) if closed_book else None
    return Controls(_constant(results), book)


def _constant(results: Sequence[Results]) -> ConstantAnswer | None:
    found = []
    for result in results:
        data = result.environment.get("data", {})
        own = data.get("constant_answer", {}).get(result.split)
        if not own:
            return None
        found.append((own, result.measured[0].num_questions or 1))
    total = sum(size for _, size in found)
    answers = tuple(dict.fromkeys(str(answer) for own, _ in found for answer in own["answers"].values()))
    scores = {
        name: sum(float(own[name]) * size for own, size in found) / total
        for name in METRICS
        if all(name in own for own, _ in found)
    }
    return ConstantAnswer(answers, scores["exact_match"], scores["f1"], scores)


def no_better_than_controls(controls: Controls, chosen: StrategyResult, metric: str, margin: float) -> Iterator[str]:
    """Sentences for a recommended strategy that scores hardly more than what needs no retrieval."""
    score = chosen.mean(metric)
    if score is None:
        return
    for name, control in (
        ("the most frequent training answer, given without reading anything", controls.constant_answer),
        ("a generator tuned without passages", controls.closed_book),
    ):
        own = control.scores.get(metric) if control else None
        if own is not None and score - own <= margin:
            yield (
                f"The recommended strategy scores {100 * score:.1f} {label(metric)} and {name} {100 * own:.1f}: "
                "these questions do not show that retrieval helps."
            )
