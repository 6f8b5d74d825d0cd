"""What is known of a study: its finished trials, measurements on the way, answers; and the best trials of a search."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping
from itertools import islice

from raggrid.graph import StudyGraph
from raggrid.identity import PhaseRun
from raggrid.records import PipelineRecord, Status, TrialRecord
from raggrid.space.search_space import SearchSpace


class Facts:
    """What is known of a study: trials, measurements on the way, answers."""

    def __init__(self, space: SearchSpace, graph: StudyGraph, key: str) -> None:
        self.space, self.graph, self.key = space, graph, key
        self.trials: dict[str, TrialRecord] = {}
        self.measured: dict[str, dict[int, float]] = {}
        self.answered: dict[tuple[str, str], PipelineRecord] = {}
        self._by_search: dict[tuple[str | None, int], dict[str, TrialRecord]] = {}
        self._ranked: dict[tuple[str | None, int], list[tuple[float, str]]] = {}

    def add_trial(self, row: TrialRecord) -> None:
        """A trial's record; a later one of the same trial supersedes it."""
        earlier = self.trials.get(row.trial_id)
        if earlier is not None and (entry := _entry(earlier)) is not None:
            ranked = self.ranked(earlier)
            del ranked[bisect_left(ranked, entry)]
        self.trials[row.trial_id] = row
        self._by_search.setdefault(self._key_of(row), {})[row.trial_id] = row
        if (entry := _entry(row)) is not None:
            insort(self.ranked(row), entry)

    def trials_of(self, name: str, seed: int) -> list[TrialRecord]:
        """The finished trials of a search."""
        return list(self._by_search.get((name, seed), {}).values())

    def ranked(self, like: TrialRecord | PhaseRun) -> list[tuple[float, str]]:
        """(objective, trial id) of all completed trials of the same search and seed, best first.

        Kept in order as trials come in: sorting them at each completion would grow with the study.
        """
        return self._ranked.setdefault(self._key_of(like), [])

    def _key_of(self, row: TrialRecord | PhaseRun) -> tuple[str | None, int]:
        return self.graph.search_of(row.phase, row.loss), row.seed

    def ended(self, name: str) -> TrialRecord | None:
        """The record of a trial that will not continue. One that ended with the budget will: None."""
        row = self.trials.get(name)
        return None if row is None or row.status == Status.OVER_BUDGET else row


def _entry(row: TrialRecord) -> tuple[float, str] | None:
    """What a trial is ranked by among those that may win; None for one that may not."""
    if row.status != Status.COMPLETED or row.objective is None or not math.isfinite(row.objective):
        return None
    return row.objective, row.trial_id


def finalists(facts: Facts, runs: Mapping[str, PhaseRun], count: int) -> list[TrialRecord]:
    """The completed runs with the best objective, best first."""
    if not runs:
        return []
    own = (name for _, name in facts.ranked(next(iter(runs.values()))) if name in runs)
    return [facts.trials[name] for name in islice(own, count)]
