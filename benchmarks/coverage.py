"""How often the statements of a recommendation hold, on simulated studies whose truth is known.

    python -m benchmarks.coverage            # all rows, 400 studies each: about half an hour on one core
    python -m benchmarks.coverage 200 0 8    # 200 studies each, rows 0 to 7

Margin 0.01, confidence 0.95; percent of studies. *All intervals hold*: the simultaneous intervals of all lines (93 to
97 wanted). *False as good*: some line that is worse by more than the margin is called as good (at most 5 wanted).
*False worse*: some line that is the best is called worse (at most 5). *Contradictions*: a verdict that its interval
does not say (0). *Settled*: verdicts that are not unresolved.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.known_truth import CHEAP_WORSE, EIGHT, EQUAL, HOTPOTQA, LADDER, POPQA, THREE, Array, Truth, simulate
from raggrid.analysis.inference.evidence import gather
from raggrid.analysis.inference.simultaneous import Call, family

MARGIN = 0.01
STATED = (
    *(CHEAP_WORSE.with_(num_questions=size) for size in (32, 200, 2_000, 20_000)),
    CHEAP_WORSE.with_(num_questions=32, icc=0.5, cluster=4), CHEAP_WORSE.with_(num_questions=1_000, icc=0.5, cluster=5),
    CHEAP_WORSE.with_(num_questions=5_000, icc=0.2, cluster=20),
    CHEAP_WORSE.with_(num_questions=500, num_seeds=1, seed_points=2.0),
    CHEAP_WORSE.with_(num_questions=500, num_seeds=2, seed_points=2.0),
    CHEAP_WORSE.with_(num_questions=500, num_seeds=3), CHEAP_WORSE.with_(num_questions=500, num_seeds=3, seed_points=1),
    CHEAP_WORSE.with_(num_questions=2_000, num_seeds=3, seed_points=2.0),
    CHEAP_WORSE.with_(num_questions=2_000, num_seeds=5, seed_points=2.0, icc=0.3, cluster=4),
    EQUAL, EQUAL.with_(num_questions=20_000), THREE, THREE.with_(num_questions=2_000, num_seeds=3, seed_points=1.0),
    POPQA, POPQA.with_(num_questions=1_000), LADDER, EIGHT, EIGHT.with_(num_questions=20_000),
    HOTPOTQA,
)  # fmt: skip


def coverage_table(studies: int, rows: tuple[Truth, ...] = STATED, seed: int = 5) -> Iterator[str]:
    """The table, row by row."""
    yield "| study | all intervals hold | false as good | false worse | contradictions | verdicts settled |"
    yield "|---|---|---|---|---|---|"
    for truth in rows:
        number = studies if truth.num_questions * truth.num_seeds <= 2_000 else max(20, studies // 2)
        shares = 100 * np.array(list(held(truth, number, seed))).mean(0)
        yield f"| {name_of(truth)} | {' | '.join(f'{value:.1f}' for value in shares)} |"


def held(truth: Truth, studies: int, seed: int = 5) -> Iterator[tuple[float, ...]]:
    """Of each study whether all intervals hold, two false verdicts, a contradiction; the share of settled lines."""
    rng = np.random.default_rng(seed)
    for _ in range(studies):
        study = simulate(truth, rng)
        evidence = gather(study.scores, study.clusters, resamples=1_000, seed=int(rng.integers(1 << 30)))
        found = family(evidence, margin=MARGIN)
        true = to_best(truth.means if found.about_strategies else study.trained)
        lows, highs = (np.array([getattr(line, end) for line in found.standings]) for end in ("low", "high"))
        calls = np.array([line.call for line in found.standings])
        good, worse = calls == Call.AS_GOOD, calls == Call.WORSE
        read = np.where(lows > -MARGIN, Call.AS_GOOD, np.where(highs < 0, Call.WORSE, Call.UNRESOLVED))
        yield (
            bool(((lows <= true + 1e-9) & (true <= highs + 1e-9)).all()), bool((good & (true < -MARGIN - 1e-9)).any()),
            bool((worse & (true >= -1e-9)).any()), bool((read != calls).any()), float((good | worse).mean()),
        )  # fmt: skip


def to_best(means: Array) -> Array:
    """(S,) true difference of each line to the best of the others."""
    return np.array([mean - np.delete(means, line).max() for line, mean in enumerate(means)])


def name_of(truth: Truth) -> str:
    """The first cell of a row."""
    clusters = f", ICC {truth.icc:g}" if truth.icc else ""
    seeds = f", {truth.num_seeds} seeds {truth.seed_points:g} points apart" if truth.num_seeds > 1 else ""
    return f"{truth.name}, {truth.num_questions:,}{clusters}{seeds}"


def main() -> None:
    """Print the rows that were asked for."""
    studies, first, last = (*map(int, sys.argv[1:4]), *(400, 0, len(STATED))[len(sys.argv) - 1 :])
    print(f"{studies} studies per row, rows {first} to {last - 1} of {len(STATED)}\n")
    for line in coverage_table(studies, STATED[first:last], seed=2_026):
        print(line, flush=True)


if __name__ == "__main__":
    main()
