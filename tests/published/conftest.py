"""Fixtures: the paper's tables as run directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.published.importing import import_results


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The averages of Figure 3, a run for each data set."""
    made = import_results("paper", tmp_path_factory.mktemp("paper") / "runs")
    return {path.name: path for path in (Path(str(place)) for place, _ in made)}
