"""A begun study under another space: what may change, what may be added, what is refused; what is kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.analysis.winners import candidates
from raggrid.errors import RecordError
from raggrid.identity import Contents
from raggrid.records import PipelineRecord, Report, TrialRecord
from raggrid.space.batch_sizes import with_batches, with_batches_of
from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Sampled
from raggrid.store.tables import read
from raggrid.study.resume import StudyInputs, check_same_study
from raggrid.study.tasks import AnswerTask, PhaseTask, Task
from tests.controllers import bowl, carry_out, continued, new_controller, outcome, play
from tests.records import made_space

# Going on with another space, other data, other models

HELD = Contents(
    data="hash", models={"embedder": {"config.json": "c", "model.safetensors": "e"}, "generator": {"model.gguf": "g"}}
)


def continues(given: SearchSpace, now: Contents = HELD, before: Contents = HELD, *, extend: bool = False) -> None:
    """Go on with a study of the made space."""
    check_same_study("RUN", StudyInputs(made_space(), before), StudyInputs(given, now), extend=extend)


def refused(given: SearchSpace, now: Contents = HELD, before: Contents = HELD, *, extend: bool = False) -> str:
    with pytest.raises(RecordError) as caught:
        continues(given, now, before, extend=extend)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "adds"),
    [
        ({"seeds": [0, 1]}, True),
        ({"seeds": [1, 0]}, False),
        ({"learning_rates": {"embedder": [1e-6, 1e-5, 1e-4, 1e-3], "generator": [1e-4, 3e-4, 1e-3]}}, True),
        ({"learning_rates": {"embedder": [1e-6, 1e-5], "generator": [1e-4, 3e-4, 1e-3]}}, False),
        ({"learning_rates": {**made_space().learning_rates.model_dump(), "joint": "separable"}}, True),
        (
            {"strategies": ["baseline", "embedder", "generator", "independent", "two_phase", "joint", "closed_book"]},
            True,
        ),
        ({"strategies": ["baseline"]}, False),
        ({"training": {"rag": {"steps": 9}}}, False),
    ],
)
def test_what_only_adds_can_extend_a_study_and_the_rest_is_refused(changes: dict[str, object], adds: bool) -> None:
    given = made_space(**changes)
    assert "holds another study" in refused(given)
    assert ("--extend runs what is new" in refused(given)) == adds
    if adds:
        continues(given, extend=True)
    else:
        assert "recorded" in refused(given, extend=True)


def test_what_differs_is_counted_without_the_advice() -> None:
    assert refused(made_space(seeds=[3], data={"folder": "d", "limits": {"train": 5}})) == (
        "RUN: holds another study: 2 problems\n"
        "  data.limits.train: recorded nothing, now 5.\n"
        "  seeds: recorded [0], now [3].\n"
        "Restore it, or choose another --run."
    )
    assert refused(made_space(seeds=[0, 1])) == (
        "RUN: holds another study: seeds: recorded [0], now [0, 1]. This only adds: --extend runs what is new."
    )


@pytest.mark.parametrize(
    "free",
    [
        {"budget": {"wall_hours": 2}, "resources": {"dollars_per_device_hour": 1.5}, "checkpoints": {"keep": "all"}},
        {"data": {"folder": "elsewhere"}},
        {"models": {"embedder": "/copied/e", "generator": "moved.gguf", "generator_sha256": "g"}},
        {**made_space().model_dump(mode="json"), "schema_version": 1},
    ],
)
def test_budgets_prices_and_places_are_no_part_of_a_study(free: dict[str, object]) -> None:
    continues(made_space(**free))


@pytest.mark.parametrize("folder", ["d", "elsewhere"])
def test_other_data_are_another_study_wherever_they_lie(folder: str) -> None:
    assert refused(made_space(data={"folder": folder}), replace(HELD, data="other"), extend=True) == (
        f"RUN: holds another study: data.folder: the files in {folder} are not those that the study began with: "
        "recorded 'hash', now 'other'. Restore it, or choose another --run."
    )


def holding(**files: dict[str, str]) -> Contents:
    return replace(HELD, models={**HELD.models, **files})


def test_replaced_weights_are_refused_with_both_digests() -> None:
    now = holding(embedder={"config.json": "c", "model.safetensors": "x"})
    assert refused(made_space(), now) == (
        "RUN: holds another study: models.embedder: model.safetensors of e is not the one that the study began with: "
        "recorded 'e', now 'x'. Restore it, or choose another --run."
    )
    assert "recorded 'c', now nothing. 1 more of its files differ." in refused(
        made_space(), holding(embedder={"y": "z"})
    )


def test_a_file_that_a_cache_got_later_is_not_missed() -> None:
    continues(made_space(), holding(generator={"model.gguf": "g", "generation_config.json": "later"}))


def test_a_model_that_is_not_at_hand_goes_by_its_reference() -> None:
    unknown = replace(HELD, models={"embedder": HELD.models["embedder"]})
    moved = made_space(models={"embedder": "e", "generator": "other/model"})
    continues(made_space(), unknown)
    continues(made_space(), before=unknown)
    for now, before in ((unknown, HELD), (HELD, unknown), (unknown, unknown)):
        assert "models.generator: recorded 'g', now 'other/model'." in refused(moved, now, before)


def test_an_extended_study_runs_just_what_is_new(tmp_path: Path) -> None:
    first = new_controller(tmp_path / "r", made_space())
    before = {task.key for task in carry_out(first)}
    rates = {**made_space().learning_rates.model_dump(), "generator": [1e-4, 3e-4, 1e-3, 3e-3], "joint": "grid"}
    more = made_space(learning_rates=rates, seeds=[0, 1])
    after = carry_out(continued(first, more))
    assert not before & {task.key for task in after}
    trained = [task for task in after if isinstance(task, PhaseTask)]
    # One new generator rate, joint's other eleven pairs under two losses, and all winners with another seed.
    assert sum(task.run.seed == 0 for task in trained) == 1 + 2 * 11
    assert sum(task.run.seed == 1 for task in trained) == 5


# What is kept


def test_only_what_can_still_win_keeps_its_checkpoint(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())

    def saves(task: Task) -> Report:
        if isinstance(task, PhaseTask):
            (tmp_path / "r" / "checkpoints" / task.key / "generator").mkdir(parents=True)
        return outcome(task)

    carry_out(controller, saves)
    kept = {folder.name for folder in (tmp_path / "r" / "checkpoints").iterdir()}
    rows = [row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"]
    assert kept == {side for row in rows for side in (row.embedder_trial_id, row.generator_trial_id) if side}


def test_study_and_records_pick_the_same_winners_after_an_extension_moves_one(tmp_path: Path) -> None:
    """The generator rate that is added wins, and embedders tuned against the old generator scored better than ever."""
    few = {"embedder": [1e-5, 1e-4], "generator": [1e-4, 1e-3]}
    space = made_space(strategies=["two_phase", "independent"], seeds=[0, 1], learning_rates=few)
    first = new_controller(tmp_path / "r", space)

    def score(task: AnswerTask) -> float:
        generator = state.trials.get(task.generator_trial_id or "")
        added = generator is not None and generator.generator_lr == 3e-4
        return 0.9 if task.strategy != "generator" and not added else 0.5 + 0.2 * added

    checkpoints = tmp_path / "r" / "checkpoints"

    def saves(task: PhaseTask, step: int) -> float:
        (checkpoints / task.key / "generator").mkdir(parents=True, exist_ok=True)
        return bowl(task, step)

    state = first.state
    play(first, saves, score=score)
    before = {folder.name for folder in checkpoints.iterdir()}
    larger = made_space(strategies=["two_phase", "independent"], seeds=[0, 1],
                        learning_rates={**few, "generator": [1e-4, 3e-4, 1e-3]})  # fmt: skip
    second = continued(first, larger)
    state = second.state
    play(second, saves, score=score)
    rows, trials = read(tmp_path / "r", PipelineRecord), read(tmp_path / "r", TrialRecord)
    chosen = candidates(state.graph, rows, trials, "f1")
    for seed in (0, 1):
        won = {name: progress.outcome.winner for (name, s), progress in state.progress.items() if s == seed}
        for plan in state.graph.pipelines:
            row = chosen[plan.key][seed][0]
            for search in plan.searches:
                winner = won[search]
                assert winner
                assert state.graph.trial_of(search, row) == winner.trial_id
    used = {side for by_seed in chosen.values() for own in by_seed.values()
            for side in (own[0].embedder_trial_id, own[0].generator_trial_id) if side}  # fmt: skip
    after = {folder.name for folder in checkpoints.iterdir()}
    assert used <= after
    assert before - used
    assert not (before - used) & after


def test_a_study_keeps_the_batches_that_it_began_with_whatever_runs_at_once_now() -> None:
    drawn = {"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": 12}
    space = made_space(learning_rates={"embedder": drawn, "generator": [1e-4, 1e-3]})
    began = with_batches(space, 8)
    assert isinstance(began.learning_rates.embedder, Sampled)
    assert began.learning_rates.embedder.batch == 8
    assert with_batches_of(space, began) == with_batches(began, 64) == began
    assert isinstance(few := with_batches(space, 1).learning_rates.embedder, Sampled)
    assert few.batch == 4


@pytest.mark.parametrize("workers", [0, 1, "auto"])
def test_one_worker_in_another_form_is_the_same_study(workers: int | str) -> None:
    continues(made_space(resources={"workers": workers}))
    assert "resources.workers: recorded 'auto', now 2" in refused(made_space(resources={"workers": 2}))
