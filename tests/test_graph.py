"""What a study's graph says about its structure, against plain counting."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from raggrid.graph import SearchKey, StudyGraph, study_graph
from tests.records import made_space
from tests.studies import WINNERS, pipeline_row

ALL = ("baseline", "embedder", "generator", "independent", "two_phase", "joint", "closed_book")
CONTROLS = ("few_shot", "gold_context", "gold_context_generator", "gold_context_joint")
LISTS = [ALL, ALL[:6], ("two_phase",), ("baseline", "embedder"), ("generator", "independent"), ("baseline",)]


def graph_of(strategies: Sequence[str], **changes: object) -> StudyGraph:
    return study_graph(made_space(strategies=list(strategies), **changes))


def test_a_trial_belongs_to_the_search_of_its_phase_and_loss() -> None:
    graph = graph_of(ALL)
    for name, search in graph.searches.items():
        assert graph.search_of(search.phase, search.loss) == name
    assert graph.search_of("generator_rag", "rag_sequence") is None
    assert graph.search_of("a_phase_of_a_later_release", "rag_token") is None


@pytest.mark.parametrize("strategies", LISTS)
def test_a_pipeline_belongs_to_one_plan_whether_or_not_its_strategy_is_listed(strategies: Sequence[str]) -> None:
    graph = graph_of(strategies)
    for plan in graph.pipelines:
        assert graph.plan_of(plan.strategy, plan.loss) is plan
    for name in graph.searches:
        plan = graph.selection_plan(name)
        assert graph.plan_of(*plan.key) == plan
        assert name in plan.searches
    with pytest.raises(KeyError):
        graph.plan_of("joint", "mnr")


def test_the_finalist_of_a_pipeline_is_the_trial_that_its_search_trained() -> None:
    graph = graph_of(ALL)
    rows = {key: pipeline_row(key, 0, "validation", [1.0]) for key in WINNERS}
    found = {key[0]: graph.selected_trial(row) for key, row in rows.items()}
    assert found == {
        "baseline": None, "embedder": "e1", "generator": "g1", "independent": None, "two_phase": "r1", "joint": "j1",
    }  # fmt: skip
    assert graph.trial_of("generator_rag/rag_token", rows["two_phase", "rag_token"]) == "g1"
    assert [plan.strategy for plan in graph.composed] == ["baseline", "independent"]


@pytest.mark.parametrize(
    ("strategies", "source"),
    [
        (ALL, {"embedder": "baseline", "independent": "generator", "two_phase": "generator"}),
        # The finalists of generator_rag are answered, whether or not generator is listed; baseline is not.
        (("embedder", "two_phase"), {"two_phase": "generator"}),
        (
            ("gold_context", "baseline", "few_shot", "generator", "gold_context_generator", "joint", CONTROLS[3]),
            {"gold_context": "baseline", "gold_context_generator": "generator"},
        ),
    ],
)
def test_whose_answers_may_be_reused(strategies: Sequence[str], source: dict[str, str]) -> None:
    graph = graph_of(strategies)
    found = {plan.strategy: reused.strategy for plan in graph.pipelines if (reused := graph.source_of(plan))}
    assert found == source


@pytest.mark.parametrize("strategies", LISTS)
@pytest.mark.parametrize("joint", ["two_phase", "grid"])
def test_what_a_pipeline_alone_needs_is_what_goes_when_it_goes(strategies: Sequence[str], joint: str) -> None:
    rates = {"embedder": [1e-6, 1e-5], "generator": [1e-4, 3e-4], "joint": joint}
    graph = graph_of(strategies, learning_rates=rates, losses={"joint": ["rag_token"]})
    for plan in graph.pipelines:
        others = [name for name in strategies if name != plan.strategy]
        rest = graph_of(others, learning_rates=rates, losses={"joint": ["rag_token"]}).searches if others else {}
        assert set(graph.only_needed_by(plan)) == set(graph.searches) - set(rest)
        alone = graph_of([plan.strategy], learning_rates=rates, losses={"joint": ["rag_token"]}).searches
        assert graph.needed_by(plan) == tuple(alone)


def test_further_seeds_search_or_repeat_winners() -> None:
    graph = graph_of(ALL, seeds=[3, 1])
    key, upstream = SearchKey("embedder_rag/rag_token", 1), SearchKey("generator_rag/rag_token", 1)
    assert graph.dependencies(key) == [SearchKey(key.name, 3), upstream]
    assert graph.dependents()[upstream] == [key]
    assert (graph.searching_seed(1), graph.num_trials()) == (3, 3 * 4 + 2 + 6)
    grid = graph_of(ALL, seeds=[3, 1], seeds_for="grid")
    assert grid.dependencies(key) == [upstream]
    assert (grid.searching_seed(1), grid.num_trials()) == (1, 2 * (3 * 4 + 2))
    assert [seed for plan, seed in grid.planned() if plan.strategy == "baseline"] == [3]


def test_searches_that_others_wait_for_go_first() -> None:
    assert [key.name for key in graph_of(ALL).by_urgency()] == [
        "generator_rag/rag_token", "embedder_rag/rag_token", "embedder_labels", "joint_rag/rag_token",
        "joint_rag/rag_sequence", "closed_book",
    ]  # fmt: skip


def test_a_control_that_trains_nothing_of_its_own_changes_no_cost_and_no_search() -> None:
    without, graph = graph_of(ALL), graph_of((*ALL, *CONTROLS))
    assert graph.searches == without.searches
    assert graph.num_trials() == without.num_trials()
    for plan in without.pipelines:
        assert graph.only_needed_by(plan) == without.only_needed_by(plan)
        assert graph.source_of(plan) == without.source_of(plan)
    own = [plan for plan in graph.pipelines if plan.strategy in CONTROLS]
    assert len({plan.key for plan in graph.pipelines}) == len(graph.pipelines)
    assert [graph.only_needed_by(plan) for plan in own] == [()] * len(own)
    more = graph.num_answerings({}), without.num_answerings({})
    assert [more[0][split] - more[1][split] for split in ("validation", "test")] == [len(own), len(own)]
