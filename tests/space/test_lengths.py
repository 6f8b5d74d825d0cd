"""Lengths in epochs: they become steps once the rows are known, and then mean what the same steps mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from raggrid.data.checked import checked_inputs, training_rows, with_lengths
from raggrid.errors import InputError, SpaceError
from raggrid.finetune.labels import labelled_pairs
from raggrid.graph import study_graph
from raggrid.identity import Contents, study_key
from raggrid.planning.planner import plan
from raggrid.space.lengths import Rows, steps_of, with_steps
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space, load_space, parse_space, recorded_space
from raggrid.study.resume import StudyInputs, check_same_study
from tests.conftest import SpaceMaker

PAPER = Path(__file__).parents[2] / "search_spaces" / "paper.yaml"


def in_epochs(make_space: SpaceMaker, **lengths: object) -> SearchSpace:
    """A space with epochs instead of steps, or beside them where ``lengths`` says so."""
    space = make_space().model_dump(mode="json", exclude_unset=True)
    for name in ("labels", "rag"):
        space["training"][name] = {"epochs": 2, "batch_size": 3, **lengths}
    return parse_space(space)


def test_epochs_are_counted_over_the_rows_within_the_limits(make_space: SpaceMaker) -> None:
    space, data = checked_inputs(in_epochs(make_space))
    assert len(data.splits["train"]) == 80
    graph = study_graph(space)
    positions = {passage.id: place for place, passage in enumerate(data.passages)}
    pairs = len(labelled_pairs(data.splits["train"], positions))
    assert graph.searches["generator_rag/rag_token"].max_steps == 2 * 27
    assert graph.searches["embedder_labels"].max_steps == steps_of(2, pairs, 3)


def test_epochs_over_no_labels_leave_a_space_that_can_be_read_again(make_space: SpaceMaker) -> None:
    space = with_steps(in_epochs(make_space), Rows(labels=0, rag=80))
    assert parse_space(yaml.safe_load(dump_space(space))) == space
    assert with_steps(space, Rows(labels=0, rag=80)) == space


@pytest.mark.parametrize("positives", ["all", "first"])
def test_rows_of_the_labelled_phase_are_its_pairs(make_space: SpaceMaker, positives: str) -> None:
    space, data = checked_inputs(make_space(training={"labels": {"positives": positives}}))
    first, second, *others = data.splits["train"]
    two, none = replace(first, context_ids=("a", "b")), replace(second, context_ids=())
    data = replace(data, splits={**data.splits, "train": (two, none, *others)})
    positions = {name: 0 for question in data.splits["train"] for name in question.context_ids}
    pairs = labelled_pairs(data.splits["train"], positions, space.training.labels.positives)
    assert training_rows(space, data) == (len(pairs), 80)


@pytest.mark.parametrize(("epochs", "rows", "batch"), [(1, 10, 4), (3, 10, 4), (0.5, 10, 4), (2.5, 7, 2), (1, 3, 8)])
def test_steps_are_as_many_as_transformers_trainer_takes(
    tiny_models: tuple[Path, Path], tmp_path: Path, epochs: float, rows: int, batch: int
) -> None:
    from torch.utils.data import Dataset
    from transformers import LlamaForCausalLM, Trainer, TrainingArguments

    class Ones(Dataset[dict[str, list[int]]]):
        def __len__(self) -> int:
            return rows

        def __getitem__(self, place: int) -> dict[str, list[int]]:
            return {"input_ids": [1, 2], "labels": [1, 2]}

    given = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=epochs, per_device_train_batch_size=batch, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(LlamaForCausalLM.from_pretrained(tiny_models[1]), given, train_dataset=Ones())
    assert trainer.train().global_step == steps_of(epochs, rows, batch)


def test_without_data_the_limit_stands_for_it_and_without_that_the_length_is_refused(make_space: SpaceMaker) -> None:
    space = in_epochs(make_space)
    away = space.model_copy(update={"data": space.data.model_copy(update={"folder": "nowhere"})})
    assert with_lengths(away).training.rag.steps == 2 * 27
    unlimited = away.model_copy(update={"data": away.data.model_copy(update={"limits": {}})})
    message = r"training.labels.epochs: got 2 of an unknown number of rows; expected the data, or data.limits.train"
    with pytest.raises(SpaceError, match=message):
        with_lengths(unlimited)
    with pytest.raises(SpaceError, match=message):
        study_graph(space)


def test_steps_that_are_not_those_of_the_epochs_are_refused_and_equal_ones_are_not(make_space: SpaceMaker) -> None:
    with pytest.raises(
        InputError, match=r"training.labels: got steps 9 and epochs 2, which is \d+ steps over \d+ rows"
    ):
        checked_inputs(in_epochs(make_space, steps=9))
    counted = checked_inputs(in_epochs(make_space))[0].training.labels.steps
    assert checked_inputs(in_epochs(make_space, steps=counted))[0].training.labels.steps == counted


def test_a_recorded_space_keeps_its_steps_and_names_the_study_as_the_steps_do(make_space: SpaceMaker) -> None:
    space, data = checked_inputs(in_epochs(make_space))
    again = recorded_space(dump_space(space), "space.yaml")
    assert again == space
    assert with_lengths(again) == again
    steps = {name: {"steps": getattr(space.training, name).steps, "batch_size": 3} for name in ("labels", "rag")}
    plain = make_space(training=steps)
    contents = Contents(data=data.content_hash, models={})
    assert study_key(plain, contents) == study_key(space, contents)
    here = StudyInputs(plain.model_copy(update={"data": space.data, "models": space.models}), contents)
    check_same_study("run", StudyInputs(space, contents), here, extend=False)


def test_the_papers_spaces_plan_one_epoch_without_their_data() -> None:
    assert load_space(PAPER).training.rag.epochs == 1
    planned = {search.phase: search.steps for search in plan(load_space(PAPER)).searches}
    assert planned == dict.fromkeys(("embedder_labels", "generator_rag", "embedder_rag", "joint_rag"), 11306)


def test_epochs_in_yaml_are_numbers_above_zero(make_space: SpaceMaker) -> None:
    raw = json.loads(make_space().model_dump_json(exclude_unset=True))
    raw["training"]["rag"] = {"epochs": 0}
    with pytest.raises(SpaceError, match=r"training.rag.epochs: got 0; expected a number of more than 0.0"):
        parse_space(raw)
    assert with_steps(parse_space({**raw, "training": {"rag": {"steps": 7}}}), None).training.rag.steps == 7
