"""What early stopping, sharing and budgets would have saved on a recorded study.

A discrete-event simulator (see `Replay`): the same decisions as a real search, on recorded curves and a virtual clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from raggrid.backend.simulator.curves import Curves
from raggrid.backend.simulator.read_curves import read_curves
from raggrid.backend.simulator.replay import SPLITS, Replay
from raggrid.data.checked import with_lengths
from raggrid.errors import DataError
from raggrid.identity import PhaseRun
from raggrid.records import Status
from raggrid.space.batch_sizes import with_batches
from raggrid.space.rates import rate_text
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Budget
from raggrid.space.tuning import Sampled

Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Winner:
    """The winner of a search under one seed. ``objective``: at its last step; ``f1``: of its pipeline on validation, a
    fraction in [0, 1], None if it is not recorded."""

    search: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    objective: float | None
    f1: float | None

    @property
    def pair(self) -> Pair:
        """(embedder_lr, generator_lr)."""
        return self.embedder_lr, self.generator_lr


@dataclass(frozen=True)
class SimulatedStudy:
    """A study as it would have run. Device-seconds sum over trials; ``wall_seconds`` is from start to end.

    ``num_faulty``: trials that diverged or failed, as recorded. ``num_censored``: trials that ran past the end of their
    recorded curve; their time is extrapolated from their seconds per step, their objective stays at the last one.
    ``num_interpolated``: trials measured between two recorded points. ``num_answered`` of ``num_pipelines`` were
    answered on every split. ``picked_by_objective``: searches whose finalists' F1 is not all recorded.
    """

    train_device_seconds: float
    evaluate_device_seconds: float
    wall_seconds: float
    num_trials: int
    num_completed: int
    num_stopped: int
    num_over_budget: int
    num_faulty: int
    num_censored: int
    num_interpolated: int
    num_answered: int
    num_pipelines: int
    winners: tuple[Winner, ...]
    picked_by_objective: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A search for which an alternative would have found another winner; None stands for no winner."""

    alternative: str
    search: str
    seed: int
    given: Winner | None
    other: Winner | None


@dataclass(frozen=True)
class Simulation:
    """The study as given, and the same study without what saves cost.

    ``alternatives``: by what they leave out; none has a budget. ``notes``: what was left out or assumed, and why.
    """

    study: str
    source: str
    slots: int
    device_type: str
    given: SimulatedStudy
    alternatives: Mapping[str, SimulatedStudy]
    notes: tuple[str, ...]

    @property
    def ratios(self) -> Mapping[str, float | None]:
        """Training device-seconds of each alternative over the given study's; None where that trains nothing."""
        base = self.given.train_device_seconds
        return {name: other.train_device_seconds / base if base else None for name, other in self.alternatives.items()}

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The searches for which an alternative has another winner."""
        return tuple(
            found for name, other in self.alternatives.items() for found in _differences(name, self.given, other)
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        differences = [asdict(difference) for difference in self.differences]
        return {**asdict(self), "ratios": dict(self.ratios), "differences": differences}


def simulate(space: SearchSpace, curves: Curves | Path | str, *, slots: int | None = None) -> Simulation:
    """Run a study on recorded curves: as given, and without early stopping, sharing, and a reduced joint search.

    Two more alternatives leave out several at once, each strategy alone without early stopping: the paper's practice
    (joint at the pair that two-phase found; arXiv:2510.01600), and separate full grids (joint over all pairs).
    The searcher, the state, the controller and Ray's ASHA are those of a real search; time is virtual, and nothing is
    written. Trials take their recorded seconds, divided among the space's workers; starts, answering and embedding the
    corpus take their recorded means.

    Args:
        space: what to search; budgets, early stopping and learning rates may differ from the recorded study's.
        curves: those of the recorded study, or the path where `read_curves` finds them.
        slots: concurrent trials, 1 or more. Default: ``resources.max_concurrent_trials``, else as recorded, else 1.

    Raises:
        DataError: trials of the study have no curve; all that are known by then are listed.
        SpaceError: a length in epochs, and neither the data nor a limit of its training questions is known.
    """
    space = with_lengths(space)
    curves = curves if isinstance(curves, Curves) else read_curves(curves)
    slots = slots or space.resources.max_concurrent_trials or curves.slots or 1
    given = _carried_out(space, curves, slots)
    if given.missing:
        raise DataError(_missing(curves, given.missing))
    alternatives: dict[str, SimulatedStudy] = {}
    notes = list(_notes(space, curves))
    for name, spaces in _alternatives(space).items():
        replays = [_carried_out(other, curves, slots) for other in spaces]
        missing = [run for replay in replays for run in replay.missing]
        if missing:
            what = f"{len(missing)} trials have no curve, such as {_told(missing[0])}"
            notes.append(f"'{name}' is left out: {what}.")
        else:
            alternatives[name] = _sum([_result(replay) for replay in replays])
    return Simulation(
        space.name, curves.source, slots, curves.device_type, _result(given), alternatives, tuple(notes)
    )  # fmt: skip


def _carried_out(space: SearchSpace, curves: Curves, slots: int) -> Replay:
    replay = Replay(with_batches(space, slots), curves, slots)
    replay.run()
    return replay


# The same study without what saves cost


def _alternatives(space: SearchSpace) -> dict[str, list[SearchSpace]]:
    """The alternatives by what they leave out, each as the spaces whose studies add up to it."""
    unlimited = space.model_copy(update={"budget": Budget()})
    full = unlimited.model_copy(update={"early_stopping": space.early_stopping.model_copy(update={"enabled": False})})
    found: dict[str, list[SearchSpace]] = {}
    if space.budget != unlimited.budget:
        found["without the budget"] = [unlimited]
    if space.early_stopping.enabled:
        found["without early stopping"] = [full]
    if len(space.strategies) > 1:
        found["without sharing"] = _each_alone(unlimited)
    if _has_grid(space):
        found["full joint grid"] = [_with_joint(unlimited, "grid")]
    if space.early_stopping.enabled or len(space.strategies) > 1:
        found["the paper's practice"] = _each_alone(_with_joint(full, "two_phase"))
        if _has_grid(space):
            found["separate full grids"] = _each_alone(_with_joint(full, "grid"))
    return found


def _each_alone(space: SearchSpace) -> list[SearchSpace]:
    return [space.model_copy(update={"strategies": (name,)}) for name in space.strategies]


def _has_grid(space: SearchSpace) -> bool:
    """Whether a full joint grid would be a different search, and one whose pairs are known."""
    rates = space.learning_rates
    drawn = any(isinstance(side, Sampled) and side.sample == "optuna" for side in (rates.embedder, rates.generator))
    return space.has_joint and rates.joint != "grid" and not drawn


def _with_joint(space: SearchSpace, joint: str) -> SearchSpace:
    return space.model_copy(update={"learning_rates": space.learning_rates.model_copy(update={"joint": joint})})


# Results


def _result(replay: Replay) -> SimulatedStudy:
    state, space = replay.state, replay.space
    rows = list(state.trials.values())
    count = Counter(row.status for row in rows)
    tested = {(row.strategy, row.loss, row.seed) for row in state.answered.values() if row.split == SPLITS[-1]}
    plans = [(*plan.key, space.seeds[0]) for plan in state.graph.pipelines]
    return SimulatedStudy(
        sum(row.train_device_seconds for row in rows), sum(row.evaluate_device_seconds for row in rows),
        replay.clock.seconds, len(rows), count[Status.COMPLETED], count[Status.STOPPED], count[Status.OVER_BUDGET],
        count[Status.DIVERGED] + count[Status.FAILED], len(replay.beyond), len(replay.between),
        sum(plan in tested for plan in plans), len(plans), tuple(_winners(replay)),
        tuple(sorted({key.name for key in replay.unanswered})),
    )  # fmt: skip


def _winners(replay: Replay) -> Iterator[Winner]:
    for key, progress in replay.state.progress.items():
        row = progress.outcome.winner
        if row:
            scores = replay.scores_of(progress.runs[row.trial_id])
            yield Winner(key.name, key.seed, row.embedder_lr, row.generator_lr, row.objective, scores.get("f1"))


def _sum(parts: Sequence[SimulatedStudy]) -> SimulatedStudy:
    """Studies one after the other. A search that several of them ran is listed once for each winner that it had."""
    numbers = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in fields(SimulatedStudy)
        if field.name not in ("winners", "picked_by_objective")
    }
    winners = {(row.search, row.seed, row.pair): row for part in parts for row in part.winners}
    picked = sorted({name for part in parts for name in part.picked_by_objective})
    return SimulatedStudy(**numbers, winners=tuple(winners.values()), picked_by_objective=tuple(picked))


def _differences(name: str, given: SimulatedStudy, other: SimulatedStudy) -> Iterator[Difference]:
    """Searches of both studies, and of one alone, whose winners differ; joint searches of other pairs included."""
    mine = {(row.search, row.seed): row for row in given.winners}
    theirs: dict[tuple[str, int], list[Winner]] = {}
    for row in other.winners:
        theirs.setdefault((row.search, row.seed), []).append(row)
    for search, seed in dict.fromkeys([*mine, *theirs]):
        own, found = mine.get((search, seed)), theirs.get((search, seed), [])
        for row in found:
            if own is None or row.pair != own.pair:
                yield Difference(name, search, seed, own, row)
        if own and not found:
            yield Difference(name, search, seed, own, None)


# Notes and errors


def _notes(space: SearchSpace, curves: Curves) -> Iterator[str]:
    if space.budget != Budget():
        yield "The alternatives have no budget."
    if space.has_joint and space.learning_rates.joint != "grid" and not _has_grid(space):
        yield "'full joint grid' is left out: rates that Optuna proposes have no grid."
    if not curves.answer_seconds:
        yield "The time of answering is not recorded; it counts as zero here."


def _missing(curves: Curves, runs: Sequence[PhaseRun]) -> str:
    """All of them at once; those that would have come after them are not known yet."""
    told = list(dict.fromkeys(_told(run) for run in runs))
    trials = f"{len(told)} trials" if len(told) > 1 else "one trial"
    lines = [f"{curves.source}: got no curve of {trials}; expected one for each.", *(f"  {line}" for line in told)]
    return "\n".join([*lines, "  Record them, or change the space with --set so that they are not tried."])


def _told(run: PhaseRun) -> str:
    rates = [("embedder_lr", run.embedder_lr), ("generator_lr", run.generator_lr)]
    told = ", ".join(f"{name} {rate_text(rate)}" for name, rate in rates if rate is not None)
    return f"{run.phase}, {run.loss}, {told}, seed {run.seed}"
