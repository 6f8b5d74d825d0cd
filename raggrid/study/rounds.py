"""One search of one seed, round by round: train, decide rungs, extend the grid, answer the finalists, pick the winner.

Every round is worked out from the facts alone; see `next_round`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raggrid.graph import SearchKey, selection_order
from raggrid.identity import PhaseRun, pipeline_id, trial_id
from raggrid.records import PipelineRecord, Status, TrialRecord
from raggrid.searches import PhaseSearch
from raggrid.space.rates import Pair, beyond, neighbourhood, rungs
from raggrid.strategies import PHASES
from raggrid.study.budget import Closing
from raggrid.study.facts import Facts, finalists
from raggrid.study.proposals import proposed_pairs
from raggrid.study.tasks import AnswerTask, PhaseTask, Task


class HalvingGroup(NamedTuple):
    """What one successive halving compares: the trials of a search under one seed and one upstream model."""

    search: str
    seed: int
    upstream_trial_id: str | None


@dataclass(frozen=True)
class Outcome:
    """Where a search stands: ``settled`` when nothing of it is left to do; ``winner`` None if it found none."""

    settled: bool
    winner: TrialRecord | None = None


OPEN = Outcome(False)


@dataclass
class SearchProgress:
    """A search of one seed: its tasks to start and under way, and where it stands."""

    key: SearchKey
    waiting: deque[Task] = field(default_factory=deque)
    open: set[str] = field(default_factory=set)
    outcome: Outcome = OPEN
    rejected: list[str] = field(default_factory=list)
    runs: dict[str, PhaseRun] = field(default_factory=dict)
    """The phase runs known so far, by trial id."""
    settled_by_budget: bool = False
    """Whether it was settled while the budget let nothing more start."""

    def drop_waiting(self, *, training_only: bool) -> None:
        """Forget what was to start."""
        self.waiting = deque(task for task in self.waiting if training_only and isinstance(task, AnswerTask))

    def losers(self, facts: Facts, among: Sequence[str]) -> list[str]:
        """Those of ``among``, completed trials of this search, that can win no more: others are better, or what they
        were trained against has lost its own search to a trial that was added."""
        elsewhere = [name for name in among if self.runs and name not in self.runs]
        known = [name for name in among if name in self.runs]
        if self.outcome.settled and not self.outcome.winner:
            return elsewhere
        search = facts.graph.searches[self.key.name]
        best = finalists(facts, self.runs, facts.space.selection.finalists)
        # Once there is a winner, a finalist matters only as long as it can still be answered.
        open_ones = [row for row in best if not (self.outcome.winner and _answer(search, row, facts))]
        first = self.outcome.winner or _winner(search, known, facts)
        spared = {row.trial_id for row in (*open_ones, *([first] if first else []))}
        return [*(name for name in known if name not in spared), *elsewhere]


def next_round(
    progress: SearchProgress,
    facts: Facts,
    outcomes: Mapping[SearchKey, Outcome],
    failed: Mapping[str, str],
    *,
    closed: Closing,
) -> None:
    """Put the tasks of the next round into ``progress.waiting``, or settle the search's outcome."""
    search = facts.graph.searches[progress.key.name]
    needed = [outcomes[key] for key in facts.graph.dependencies(progress.key)]
    if not all(outcome.settled for outcome in needed):
        return
    if any(outcome.winner is None for outcome in needed):
        progress.outcome = Outcome(True)
        return
    progress.runs = _with_completed(progress.key, search, facts, _runs(progress.key, search, facts, outcomes))
    if closed == Closing.NOTHING:
        progress.waiting.extend(_training(progress, search, facts))
    if progress.waiting or progress.rejected:
        return
    best = finalists(facts, progress.runs, facts.space.selection.finalists)
    if _repeats(progress.key, facts):
        progress.outcome = Outcome(True, best[0] if best else None)
        return
    unanswered = [_finalist_task(search, row, facts) for row in best if _answer(search, row, facts) is None]
    unanswered = [task for task in unanswered if task.key not in failed]
    if unanswered and closed != Closing.ALL:
        progress.waiting.extend(unanswered)
        return
    progress.outcome = Outcome(True, _winner(search, progress.runs, facts))
    # The winner may stand at an end of the grid though the objective preferred a value further in.
    if closed == Closing.NOTHING and progress.outcome.winner and search.extend_at_most:
        extended = _runs(progress.key, search, facts, outcomes, winner=progress.outcome.winner)
        extended = _with_completed(progress.key, search, facts, extended)
        if extended.keys() - progress.runs.keys():
            progress.runs, progress.outcome = extended, OPEN
            progress.waiting.extend(_training(progress, search, facts))


def _repeats(key: SearchKey, facts: Facts) -> bool:
    """Whether this seed trains the first seed's winner again instead of searching."""
    return key.seed != facts.graph.searching_seed(key.seed)


# Which learning rates


def _runs(
    key: SearchKey,
    search: PhaseSearch,
    facts: Facts,
    outcomes: Mapping[SearchKey, Outcome],
    winner: TrialRecord | None = None,
) -> dict[str, PhaseRun]:
    """The phase runs that are known by now, by trial id, in the order in which they are tried."""
    above = outcomes[SearchKey(search.upstream, key.seed)].winner if search.upstream else None

    def run(pair: Pair) -> tuple[str, PhaseRun]:
        upstream = above.trial_id if above else None
        made = PhaseRun(search.phase, search.loss, key.seed, *pair, search.max_steps, upstream)
        return trial_id(made, facts.key), made

    if _repeats(key, facts):
        first = outcomes[SearchKey(key.name, facts.space.seeds[0])].winner
        return dict([run((first.embedder_lr, first.generator_lr))] if first else [])
    if search.rates_from:
        return dict(run(pair) for pair in _around(key, search, facts, outcomes))
    if search.proposed:
        upstream = above.trial_id if above else None
        recorded = [(row.embedder_lr, row.generator_lr) for row in facts.trials_of(search.name, key.seed)
                    if row.upstream_trial_id == upstream]  # fmt: skip
        pairs = proposed_pairs(search, key.seed, lambda pair: facts.ended(run(pair)[0]), recorded)
        return dict(run(pair) for pair in pairs)
    runs = dict(run(pair) for pair in search.grid)
    while (pair := _extension(search, runs, facts, winner)) is not None:
        name, made = run(pair)
        runs[name] = made
        if facts.ended(name) is None:
            break
    return runs


def _with_completed(
    key: SearchKey, search: PhaseSearch, facts: Facts, runs: dict[str, PhaseRun]
) -> dict[str, PhaseRun]:
    """``runs``, and those completed before new rates moved the search elsewhere: what was paid for can still win."""
    upstream = {run.upstream_trial_id for run in runs.values()}
    earlier = {
        row.trial_id: PhaseRun(
            row.phase, row.loss, row.seed, row.embedder_lr, row.generator_lr, row.max_steps, row.upstream_trial_id
        )
        for row in facts.trials_of(search.name, key.seed)
        if row.status == Status.COMPLETED and row.upstream_trial_id in upstream and not _repeats(key, facts)
    }
    return {**runs, **{name: run for name, run in earlier.items() if name not in runs}}


def _around(key: SearchKey, search: PhaseSearch, facts: Facts, outcomes: Mapping[SearchKey, Outcome]) -> Sequence[Pair]:
    """The pair that the one-dimensional searches found, and its neighbours where they are wanted."""
    embedder, generator = (outcomes[SearchKey(name, key.seed)].winner for name in search.rates_from)
    centre = (embedder.embedder_lr if embedder else None, generator.generator_lr if generator else None)
    if search.around == "pair":
        return (centre,)
    tried = [facts.trials_of(name, key.seed) for name in search.rates_from]
    return neighbourhood(
        centre,
        {row.embedder_lr for row in tried[0] if row.embedder_lr is not None},
        {row.generator_lr for row in tried[1] if row.generator_lr is not None},
    )


def _extension(
    search: PhaseSearch, runs: Mapping[str, PhaseRun], facts: Facts, winner: TrialRecord | None
) -> Pair | None:
    """The next pair beyond the grid, while the best value tried is an end of it; None when there is none to try."""
    if not search.extend_at_most or not all(facts.ended(name) for name in runs):
        return None
    best = winner or next(iter(finalists(facts, runs, 1)), None)
    if best is None:
        return None
    side = 0 if best.embedder_lr is not None else 1
    rates = [(run.embedder_lr, run.generator_lr)[side] or 0.0 for run in runs.values()]
    given = [pair[side] or 0.0 for pair in search.grid]
    for end, added in (
        (max(rates), sum(rate > max(given) for rate in rates)),
        (min(rates), sum(rate < min(given) for rate in rates)),
    ):
        known = _known_beyond(search, facts, runs, side, end)
        at_end = (best.embedder_lr, best.generator_lr)[side] == end
        if added < search.extend_at_most and (at_end or known):
            following = beyond(rates, end)
            if following is not None:
                return (following, None) if side == 0 else (None, following)
    return None


def _known_beyond(search: PhaseSearch, facts: Facts, runs: Mapping[str, PhaseRun], side: int, end: float) -> bool:
    """Whether a value beyond ``end`` was tried before: an extension stays, whatever was found since."""
    some = next(iter(runs.values()))
    rows = facts.trials_of(search.name, some.seed)
    same = [row for row in rows if row.upstream_trial_id == some.upstream_trial_id and row.trial_id not in runs]
    following = beyond([(run.embedder_lr, run.generator_lr)[side] or 0.0 for run in runs.values()], end)
    return any((row.embedder_lr, row.generator_lr)[side] == following for row in same)


# Training, and the rungs of synchronous halving


def _training(progress: SearchProgress, search: PhaseSearch, facts: Facts) -> list[Task]:
    """The runs that have not ended, as tasks. With synchronous rungs only up to the next rung of the lowest."""
    unfinished = [name for name in progress.runs if facts.ended(name) is None]
    stopping = facts.space.early_stopping
    levels = rungs(search.max_steps, stopping)
    halving = stopping.enabled and stopping.rungs == "synchronous" and len(progress.runs) > 1 and levels
    if not unfinished or not halving:
        return [PhaseTask(name, search.name, progress.runs[name]) for name in unfinished]
    reached = {name: max((s for s in facts.measured.get(name, {}) if s in levels), default=0) for name in unfinished}
    lowest = min(reached.values())
    there = [name for name in unfinished if reached[name] == lowest]
    if lowest:
        kept = _survivors(progress, facts, lowest)
        progress.rejected = [name for name in there if name not in kept]
        there = [name for name in there if name in kept]
    following = next((level for level in levels if level > lowest), None)
    return [PhaseTask(name, search.name, progress.runs[name], pause_at=following) for name in there]


def _survivors(progress: SearchProgress, facts: Facts, level: int) -> set[str]:
    """The best 1 / reduction_factor (rounded up) of all the search's trials that came to a rung; none that diverged."""
    at_rung = {name: facts.measured[name][level] for name in progress.runs if level in facts.measured.get(name, {})}
    ranked = sorted((value, name) for name, value in at_rung.items() if math.isfinite(value))
    return {name for _, name in ranked[: math.ceil(len(at_rung) / facts.space.early_stopping.reduction_factor)]}


# The winner


def _finalist_task(search: PhaseSearch, row: TrialRecord, facts: Facts) -> AnswerTask:
    phase, plan = PHASES[search.phase], facts.graph.selection_plan(search.name)
    embedder = row.trial_id if phase.trains_embedder else row.upstream_trial_id
    generator = row.trial_id if phase.trains_generator else row.upstream_trial_id
    name = pipeline_id(plan.strategy, plan.loss, row.seed, embedder, generator, facts.key)
    key = f"{name}@validation"
    return AnswerTask(key, name, plan.strategy, plan.loss, row.seed, "validation", embedder, generator)


def _answer(search: PhaseSearch, row: TrialRecord, facts: Facts) -> PipelineRecord | None:
    """What a finalist's pipeline scored on validation; None while it has not answered."""
    task = _finalist_task(search, row, facts)
    return facts.answered.get((task.pipeline_id, task.split))


def _winner(search: PhaseSearch, runs: Iterable[str], facts: Facts) -> TrialRecord | None:
    """The run whose pipeline answers validation best; ties go to the better objective.

    Of all that were ever answered, not of today's finalists alone: the checkpoints of those that lost are gone, so none
    of them may win because another trial has pushed the winner of that time out of the finalists.
    """
    scored = []
    for row in (facts.trials[name] for name in runs if name in facts.trials):
        answer = _answer(search, row, facts) if row.status == Status.COMPLETED else None
        if answer and row.objective is not None:
            scored.append((selection_order(answer, facts.space.selection.metric, row.objective), row))
    return min(scored, key=lambda pair: pair[0])[1] if scored else None
