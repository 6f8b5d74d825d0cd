"""The data of a search space, read and checked against what its strategies need."""

from __future__ import annotations

from pathlib import Path

from raggrid.data.folder import Dataset, read_folder
from raggrid.errors import DataError
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import STRATEGIES


def data_of(space: SearchSpace) -> Dataset:
    """The study's data, within its limits. Raises `DataError` for wrong files."""
    folder = Path(space.data.folder).expanduser()
    return read_folder(folder, {str(split): count for split, count in space.data.limits.items()})


def checked_data(space: SearchSpace) -> Dataset:
    """The study's data, within its limits.

    Raises:
        DataError: the files are wrong, or lack labels that a strategy needs.
    """
    data = data_of(space)
    needy = [name for name in space.strategies if STRATEGIES[name].needs_labels]
    unlabelled, total = data.num_unlabelled("train"), len(data.splits["train"])
    if needy and unlabelled:
        raise DataError(
            f"strategy '{needy[0]}' needs context labels; {unlabelled} of {total} training questions have none. "
            "Label them, or use two_phase or joint."
        )
    return data
