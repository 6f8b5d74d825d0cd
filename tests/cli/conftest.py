"""Fixtures: a space on disk whose data are there and whose models are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.demo import make_world, write_world
from raggrid.space.yaml_io import dump_space
from tests.records import made_space


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    write_world(make_world(0, num_entities=20), folder / "world")
    made = made_space(data={"folder": str(folder / "world")}, models={"embedder": "./none", "generator": "./none"})
    (folder / "space.yaml").write_text(dump_space(made))
    return folder / "space.yaml"
