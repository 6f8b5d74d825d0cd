"""Fixtures of tests with several workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.two_workers import TwoWorkers


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWorkers]:
    """Two workers for all tests of a session."""
    workers = TwoWorkers(tmp_path_factory.mktemp("pair"))
    yield workers
    workers.end()
