"""Fixtures: a finished study to export from and to ask, which no test changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SpaceMaker
from tests.exported import finished


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker) -> Path:
    """All strategies, with adapters and in bfloat16."""
    space = make_space(training={"generator": "lora"}, models={"dtype": "bfloat16"})
    return finished(tmp_path_factory.mktemp("study") / "run", space)
