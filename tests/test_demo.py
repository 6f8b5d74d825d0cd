"""The fictional world: repeatable, self-consistent, and not trivial to search."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.data.folder import read_folder
from raggrid.demo import make_world, write_world


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


@pytest.mark.parametrize("size", [19, 601])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="num_entities: got"):
        make_world(0, num_entities=size)
