"""The pipelines that a study ends with: the winners of its searches, on every split that is not for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from raggrid.identity import pipeline_id
from raggrid.search.facts import Facts
from raggrid.search.rounds import Outcome, SearchKey
from raggrid.search.tasks import AnswerTask
from raggrid.space import SearchSpace
from raggrid.strategies import PipelinePlan, StudyGraph

Planned = tuple[PipelinePlan, int]
"""A pipeline of the study under one seed."""


def planned(graph: StudyGraph, space: SearchSpace) -> list[Planned]:
    """All pipelines, seed by seed. Where nothing is trained every seed would answer alike: the first stands for all."""
    return [
        (plan, seed)
        for seed in space.seeds
        for plan in graph.pipelines
        if plan.embedder_search or plan.generator_search or seed == space.seeds[0]
    ]


def wanted(plans: Iterable[Planned], splits: Sequence[str]) -> set[tuple[str, str | None, int, str]]:
    """(strategy, loss, seed, split) of every answering that the study ends with."""
    return {(plan.strategy, plan.loss, seed, split) for plan, seed in plans for split in splits}


def used_by(plans: Sequence[Planned]) -> Mapping[SearchKey, list[int]]:
    """The pipelines, by number, that each search's winner is part of."""
    found: dict[SearchKey, list[int]] = {}
    for number, (plan, seed) in enumerate(plans):
        for name in (plan.embedder_search, plan.generator_search):
            if name:
                found.setdefault(SearchKey(name, seed), []).append(number)
    return found


def tasks(
    plan: PipelinePlan, seed: int, outcomes: Mapping[SearchKey, Outcome], facts: Facts, splits: Sequence[str]
) -> Iterator[AnswerTask]:
    """What a pipeline of the winners has still to answer; nothing while a winner is missing."""
    sides = [
        outcomes[SearchKey(name, seed)] if name else None for name in (plan.embedder_search, plan.generator_search)
    ]
    if any(side and side.winner is None for side in sides):
        return
    embedder, generator = (side.winner.trial_id if side and side.winner else None for side in sides)
    name = pipeline_id(plan.strategy, plan.loss, seed, embedder, generator, facts.key)
    for split in splits:
        if (name, split) not in facts.answered:
            yield AnswerTask(f"{name}@{split}", name, plan.strategy, plan.loss, seed, split, embedder, generator)
