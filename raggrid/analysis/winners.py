"""Which answered pipelines a study chose among, the winner first: its own choice, told from the records alone.

A study that was extended has answers of more pipelines than it chooses among now: a better generator may have replaced
the one that embedders were tuned against, or better rates those that further seeds repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raggrid.graph import PipelinePlan, PlanKey, SearchKey, StudyGraph, selection_order
from raggrid.records import PipelineRecord, TrialRecord


def candidates(
    graph: StudyGraph, rows: Iterable[PipelineRecord], trials: Sequence[TrialRecord], metric: str
) -> dict[PlanKey, dict[int, list[PipelineRecord]]]:
    """The validation rows of each planned strategy by seed that its winner was picked from, the winner first."""
    return _Choices(graph, rows, trials, metric).by_plan()


class _Choices:
    """The choices of a study, search by search, each after those that it depends on."""

    def __init__(
        self, graph: StudyGraph, rows: Iterable[PipelineRecord], trials: Sequence[TrialRecord], metric: str
    ) -> None:
        self.graph, self.metric = graph, metric
        self.trials = {trial.trial_id: trial for trial in trials}
        self.rows: dict[tuple[PlanKey, int], list[PipelineRecord]] = {}
        for row in rows:
            if row.split == "validation":
                self.rows.setdefault((PlanKey(row.strategy, row.loss), row.seed), []).append(row)
        self.winners: dict[SearchKey, str | None] = {}
        for name in graph.searches:
            for seed in graph.seeds:
                self.winners[SearchKey(name, seed)] = self._winner(name, seed)

    def _winner(self, name: str, seed: int) -> str | None:
        if self._repeats(seed):
            first = self.winners.get(SearchKey(name, self.graph.searching_seed(seed)))
            return self._repeated(name, seed, self.trials.get(first or ""))
        chosen = self._selected(name, seed)
        return self.graph.trial_of(name, chosen[0]) if chosen else None

    def _repeated(self, name: str, seed: int, first: TrialRecord | None) -> str | None:
        """The trial of a further seed that repeats the winner of the first one; it is not picked by its answers."""
        upstream = self.graph.searches[name].upstream
        wanted = (first.embedder_lr, first.generator_lr) if first else None
        for row in self.trials.values():
            above = not upstream or row.upstream_trial_id == self.winners.get(SearchKey(upstream, seed))
            own = row.seed == seed and self.graph.search_of(row.phase, row.loss) == name
            if own and above and (row.embedder_lr, row.generator_lr) == wanted:
                return row.trial_id
        return None

    def by_plan(self) -> dict[PlanKey, dict[int, list[PipelineRecord]]]:
        seeds = sorted({seed for _, seed in self.rows}, key=lambda seed: self.graph.seeds.index(seed))
        found = {plan.key: {seed: own for seed in seeds if (own := self._of(plan, seed))}
                 for plan in self.graph.pipelines}  # fmt: skip
        return {key: by_seed for key, by_seed in found.items() if by_seed}

    def _of(self, plan: PipelinePlan, seed: int) -> list[PipelineRecord]:
        search = next((name for name in plan.searches if self.graph.selection_plan(name).key == plan.key), None)
        if search:
            return self._selected(search, seed)
        rows = self.rows.get((plan.key, seed), [])
        composed = [row for row in rows if self._is_of_winners(plan, row, seed)]
        return sorted(composed or rows, key=self._order)

    def _is_of_winners(self, plan: PipelinePlan, row: PipelineRecord, seed: int) -> bool:
        sides = ((plan.embedder_search, row.embedder_trial_id), (plan.generator_search, row.generator_trial_id))
        return all(self.winners.get(SearchKey(name, seed)) == trial for name, trial in sides if name)

    def _selected(self, name: str, seed: int) -> list[PipelineRecord]:
        """The finalists of a search; all that were ever answered while none stands against today's winners."""
        rows = self.rows.get((self.graph.selection_plan(name).key, seed), [])
        current = [row for row in rows if self._is_current(name, row, seed)]
        return sorted(current or rows, key=self._order)

    def _is_current(self, name: str, row: PipelineRecord, seed: int) -> bool:
        trial = self.trials.get(self.graph.trial_of(name, row) or "")
        if trial is None:
            return True
        upstream = self.graph.searches[name].upstream
        if upstream and trial.upstream_trial_id != self.winners.get(SearchKey(upstream, seed)):
            return False
        return self.winners.get(SearchKey(name, seed)) in (None, trial.trial_id) or not self._repeats(seed)

    def _repeats(self, seed: int) -> bool:
        return self.graph.searching_seed(seed) != seed

    def _order(self, row: PipelineRecord) -> tuple[float, float, float, str]:
        selected = self.graph.selected_trial(row) or row.embedder_trial_id or ""
        last = self.trials[selected].objective if selected in self.trials else None
        return selection_order(row, self.metric, float("inf") if last is None else last)
