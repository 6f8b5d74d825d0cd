"""What a pipeline would score without retrieval: the most frequent answer, and a generator that sees no passages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from raggrid.analysis.results import Results, StrategyResult
from raggrid.display_names import label
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class ConstantAnswer:
    """The most frequent training answers, given without reading anything. Scores in [0, 1].

    ``answers``: the distinct ones, one for each word that questions begin with (who, where, what ...). ``scores``: by
    metric, as far as the study measured them.
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
    """What to read every score against; None where the study has not measured a control."""

    constant_answer: ConstantAnswer | None
    closed_book: ClosedBook | None


def controls_of(results: Sequence[Results], lines: Sequence[StrategyResult]) -> Controls:
    """The controls of one or more studies, weighted by their questions; ``lines``: those that are pipelines."""
    found = next((line for line in lines if not STRATEGIES[line.strategy].reads_passages), None)
    scores = found.means() if found else {}
    book = ClosedBook(scores["exact_match"], scores["f1"], scores) if found else None
    return Controls(_constant(results), book)


def _constant(results: Sequence[Results]) -> ConstantAnswer | None:
    found = []
    for result in results:
        data = result.environment.get("data", {})
        scored = data.get("constant_answer", {}).get(result.split)
        if not scored:
            return None
        found.append((scored, result.measured[0].num_questions or 1))
    total = sum(size for _, size in found)
    answers = tuple(dict.fromkeys(str(answer) for scored, _ in found for answer in scored["answers"].values()))
    scores = {
        name: sum(float(scored[name]) * size for scored, size in found) / total
        for name in found[0][0]
        if name != "answers" and all(name in scored for scored, _ in found)
    }
    return ConstantAnswer(answers, scores["exact_match"], scores["f1"], scores)


def no_better_than_controls(controls: Controls, chosen: StrategyResult, metric: str, margin: float) -> Iterator[str]:
    """One sentence for each control that the recommended strategy hardly beats."""
    score = chosen.mean(metric)
    if score is None:
        return
    for name, control in (
        ("giving the most frequent training answer without reading anything", controls.constant_answer),
        ("a generator tuned without passages", controls.closed_book),
    ):
        without = control.scores.get(metric) if control else None
        if without is not None and score - without <= margin:
            yield (
                f"The recommended strategy scores {100 * score:.1f} {label(metric)}; {name} scores {100 * without:.1f}"
                ". These questions do not show that retrieval helps."
            )
