"""What the questions of a study will be able to show, said before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from raggrid.analysis.inference.sample_size import DISAGREEMENT, resolution
from raggrid.analysis.inference.seed_level import ENOUGH_SEEDS
from raggrid.graph import StudyGraph
from raggrid.strategies import STRATEGIES

MARGIN = 0.01  # that of `recommend` by default


@dataclass(frozen=True, kw_only=True)
class PlannedResolution:
    """Which differences ``num_questions`` of the reported ``split`` can show between ``num_lines`` strategies.

    ``worse``: a true gap to the best, a fraction, that at least four of five such studies show to be worse.
    ``as_good_questions``: how many questions show equal strategies to be as good within ``margin``. Two strategies are
    assumed to differ on a share ``disagreement`` of the questions.
    """

    split: str
    num_questions: int
    num_lines: int
    num_seeds: int
    margin: float
    disagreement: float
    worse: float
    as_good_questions: int
    sentences: tuple[str, ...]


def planned_resolution(graph: StudyGraph, split: str, num_questions: int) -> PlannedResolution | None:
    """None where there is nothing to compare."""
    lines = [plan for plan in graph.pipelines if STRATEGIES[plan.strategy].reads_passages]
    if len(lines) < 2 or not num_questions:
        return None
    found, seeds = resolution(num_questions, len(lines), margin=MARGIN), len(graph.seeds)
    points = 100 * found.worse
    enough = num_questions >= found.as_good_questions
    sentences = [
        f"{num_questions:,} {split} questions show a strategy to be worse if it is {points:.1f} points or more below "
        "the best. Smaller gaps may stay unresolved.",
        f"They {'can' if enough else 'cannot'} show that equal strategies are as good within {100 * MARGIN:g} point; "
        f"that takes about {found.as_good_questions:,}.",
    ]
    if seeds < ENOUGH_SEEDS:
        count = "One seed" if seeds == 1 else f"{seeds} seeds"
        sentences.append(
            f"{count}: verdicts will be about the trained models. Three seeds let them be about strategies."
        )
    return PlannedResolution(
        split=split, num_questions=num_questions, num_lines=len(lines), num_seeds=seeds, margin=MARGIN,
        disagreement=DISAGREEMENT, worse=found.worse, as_good_questions=found.as_good_questions,
        sentences=tuple(sentences),
    )  # fmt: skip
