"""The fictional world: repeatable, self-consistent, and not trivial to search."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raggrid.data.folder import read_folder
from raggrid.demo import make_world, write_world
from raggrid.errors import InputError


@pytest.mark.parametrize(("seed", "size"), [(0, 240), (1, 20), (2, 600)])
def test_world_reads_back_and_every_answer_stands_in_its_passage(tmp_path: Path, seed: int, size: int) -> None:
    world = make_world(seed, num_entities=size)
    write_world(world, tmp_path)
    data = read_folder(tmp_path)
    assert data.passages == world.passages
    assert len(data.passages) == size
    texts = {passage.id: passage.text for passage in data.passages}
    for questions in data.splits.values():
        for question in questions:
            (gold,) = question.context_ids
            assert question.answers[0] in texts[gold]


def test_splits_share_no_entity() -> None:
    world = make_world(0)
    golds = [{label for question in rows for label in question.context_ids} for rows in world.splits.values()]
    assert not golds[0] & golds[1]
    assert not golds[0] & golds[2]
    assert not golds[1] & golds[2]


def test_same_seed_same_world_other_seed_other_world() -> None:
    assert make_world(3, num_entities=40) == make_world(3, num_entities=40)
    assert make_world(3, num_entities=40) != make_world(4, num_entities=40)


def test_letters_add_a_sender_and_change_nothing_else() -> None:
    plain, world = make_world(3, num_entities=60), make_world(3, num_entities=60, letters=True)
    assert world == make_world(3, num_entities=60, letters=True)
    assert world.passages == plain.passages
    titles = {passage.id: passage.title for passage in plain.passages}
    for split, questions in plain.splits.items():
        for question, letter in zip(questions, world.splits[split], strict=True):
            assert (letter.id, letter.answers, letter.context_ids) == (
                question.id, question.answers, question.context_ids,
            )  # fmt: skip
            assert question.question[1:] in letter.question
            rest = letter.question.replace(question.question[1:], "")
            assert sum(title in rest for title in titles.values()) >= 2
            assert not re.search(rf"\b{titles[letter.context_ids[0]]}\b", rest)


@pytest.mark.parametrize("size", [19, 601])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="num_entities: got"):
        make_world(0, num_entities=size)


def test_other_files_of_the_same_name_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("mine")
    (tmp_path / "test.jsonl").write_text("mine too")
    with pytest.raises(InputError) as refused:
        write_world(make_world(0, num_entities=20), tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}: holds other files named corpus.jsonl, test.jsonl; expected none, or the same world. "
        "Choose another folder."
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "corpus.jsonl": "mine", "test.jsonl": "mine too",
    }  # fmt: skip


def test_the_same_world_may_be_written_again(tmp_path: Path) -> None:
    world = make_world(0, num_entities=20)
    write_world(world, tmp_path)
    (tmp_path / "train.jsonl").unlink()
    write_world(world, tmp_path)
    assert read_folder(tmp_path).passages == world.passages
    with pytest.raises(InputError, match=r"holds other files named corpus\.jsonl"):
        write_world(make_world(1, num_entities=20), tmp_path)
