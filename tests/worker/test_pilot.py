"""The pilot: real steps of every phase, side by side, on tiny models."""

from __future__ import annotations

import os

import pytest

from raggrid.data.checked import checked_inputs
from raggrid.graph import study_graph
from raggrid.worker.pilot import Sample, _note_on_others, of_one_worker, phases_of, pilot, trials_at_once
from tests.conftest import SpaceMaker
from tests.records import made_space


@pytest.mark.slow
def test_a_pilot_measures_every_phase_of_the_space_and_leaves_nothing(make_space: SpaceMaker) -> None:
    space, _ = checked_inputs(make_space(strategies=["independent", "joint"], resources={"max_concurrent_trials": 2}))
    units = pilot(space)
    assert tuple(units.phases) == phases_of(space) == ("embedder_labels", "generator_rag", "embedder_rag", "joint_rag")
    for search in study_graph(space).searches:
        costs = units.of(search)
        assert 0 < costs.step_seconds < 5
        assert 0 < costs.evaluate_seconds < 5
        assert costs.first_step_seconds >= 0
    # The audit of the first step hashes the frozen generator and repeats the sum: it is never free.
    assert units.of("embedder_rag/rag_token").first_step_seconds > 0
    assert units.answer_seconds > 0
    assert units.index_seconds > 0
    assert all(need > 1e8 for need in units.peak_bytes.values())  # a process with torch in it
    assert "at once" in units.source


def test_as_many_measure_at_once_as_would_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert trials_at_once(made_space()) == 8
    assert trials_at_once(made_space(resources={"cpus_per_worker": 3})) == 2
    assert trials_at_once(made_space(resources={"workers": 16})) == 1
    assert trials_at_once(made_space(resources={"max_concurrent_trials": 3})) == 3
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert trials_at_once(made_space()) == 1
    assert trials_at_once(made_space(resources={"gpus_per_worker": 0})) == 8


def test_one_of_several_workers_gets_its_share() -> None:
    training = of_one_worker(made_space(resources={"workers": 3})).training
    assert (training.rag.batch_size, training.labels.batch_size, training.validation_questions) == (2, 3, 22)
    alone = made_space()
    assert of_one_worker(alone) == alone


def test_a_busy_machine_is_told() -> None:
    alone, crowded = (Sample((1.0, 1.0), 1.0, 1.0, 1e9, granted) for granted in (0.98, 0.52))
    assert _note_on_others({"joint_rag": [alone, alone]}) == ""
    assert "other programs left them 75% of their cores" in _note_on_others({"joint_rag": [alone, crowded]})
    assert _note_on_others({}) == ""
