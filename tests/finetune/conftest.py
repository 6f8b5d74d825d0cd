"""Fixtures: a run directory whose trials train in this process, and two workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SpaceMaker
from tests.trials import prepared_run
from tests.two_workers import TwoWorkers


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWorkers]:
    """Two workers for all tests of a session."""
    workers = TwoWorkers(tmp_path_factory.mktemp("pair"))
    yield workers
    workers.end()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker) -> Path:
    """A prepared run directory of the tiny space, for the trials of one file."""
    return prepared_run(tmp_path_factory.mktemp("run") / "r", make_space())
