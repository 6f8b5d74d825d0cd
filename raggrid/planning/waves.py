"""A study as batches of tasks that may start together, seed by seed: what its wall time is worked out from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from raggrid.graph import SearchKey, StudyGraph
from raggrid.planning.makespan import Batch


@dataclass(frozen=True)
class Tasks:
    """How long the tasks of a study hold their slots, in seconds.

    ``trials``: of each search, under one seed that searches. ``repeated``: one trial of each search, under a seed that
    trains winners again. ``finalists``: how many of each search are answered. ``answering``: of a split as a whole,
    without the ``answer_startup``; ``examples`` is what longer prompts add to all of them. ``reuses``: whether answers
    that may be reused are. ``most_shards``: of an answering, by split.
    """

    index: float
    trials: Mapping[str, Sequence[float]]
    repeated: Mapping[str, float]
    finalists: Mapping[str, float]
    answering: Mapping[str, float]
    answer_startup: float
    examples: float
    reuses: bool
    most_shards: Mapping[str, int]


def study_batches(graph: StudyGraph, tasks: Tasks) -> Iterator[Batch]:
    """The index, then under each seed every search and its finalists' answers, and the answers of its pipelines."""
    yield Batch("index", [tasks.index])
    for seed in graph.seeds:
        for name in graph.searches:
            yield from _of_search(graph, SearchKey(name, seed), tasks)
    for seed in graph.seeds:  # where slots are short, training goes before them
        yield _of_pipelines(graph, seed, tasks)


def _of_search(graph: StudyGraph, key: SearchKey, tasks: Tasks) -> Iterator[Batch]:
    after = [_settled(graph, needed) for needed in graph.dependencies(key)] or ["index"]
    if key.seed not in graph.searching:
        yield Batch(_settled(graph, key), [tasks.repeated[key.name]], after)
        return
    trained = f"{key.name} trained, seed {key.seed}"
    yield Batch(trained, tasks.trials[key.name], after)
    work = 0.0 if _is_reused(graph, key.name, tasks) else tasks.answering.get("validation", 0.0)
    answers = [tasks.answer_startup + work] * round(tasks.finalists[key.name])
    most = tasks.most_shards.get("validation", 1)
    yield Batch(_settled(graph, key), answers, [trained], most, tasks.answer_startup)


def _settled(graph: StudyGraph, key: SearchKey) -> str:
    """The batch after which a search has a winner: its finalists' answers, or the one trial that it repeats."""
    return f"{key.name} {'answered' if key.seed in graph.searching else 'trained'}, seed {key.seed}"


def _is_reused(graph: StudyGraph, name: str, tasks: Tasks) -> bool:
    return tasks.reuses and graph.source_of(graph.selection_plan(name)) is not None


def _of_pipelines(graph: StudyGraph, seed: int, tasks: Tasks) -> Batch:
    """The answers to the test questions, and those to validation questions that no search has asked for."""
    count = dict(graph.num_answerings(tasks.finalists, [seed]))
    reusing = dict(graph.num_reusing(tasks.finalists, [seed])) if tasks.reuses else dict.fromkeys(count, 0.0)
    if seed in graph.searching:
        count["validation"] -= sum(tasks.finalists.values())
        reusing["validation"] -= sum(each for name, each in tasks.finalists.items() if _is_reused(graph, name, tasks))
    answers = [
        tasks.answer_startup + (place >= reusing[split]) * tasks.answering.get(split, 0.0)
        for split, number in count.items()
        for place in range(round(number))
    ]
    if seed == graph.seeds[0]:
        answers.append(tasks.examples)
    after = [_settled(graph, SearchKey(name, seed)) for name in graph.searches] or ["index"]
    most = min(tasks.most_shards.values(), default=1)
    return Batch(f"pipelines answered, seed {seed}", answers, after, most, tasks.answer_startup)
