"""The data and the models of a space, checked before anything is run or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raggrid.data.checked import checked_data
from raggrid.data.folder import Dataset
from raggrid.errors import InputError
from raggrid.rag.loading import prepare
from raggrid.rag.references import PREFIX, locate
from raggrid.space.search_space import SearchSpace

SIDES = ("embedder", "generator")


def checked_inputs(space: SearchSpace) -> tuple[SearchSpace, Dataset]:
    """The space with its paths made absolute, since trials run in other folders, and its data.

    Raises:
        InputError: with the problems of data and models, all at once.
    """
    folder = Path(space.data.folder).expanduser().absolute()
    problems, models, data = [], {}, None
    space = space.model_copy(update={"data": space.data.model_copy(update={"folder": str(folder)})})
    try:
        data = checked_data(space)
    except InputError as error:
        problems.append(str(error))
    for side in SIDES:
        try:
            models[side] = _anchored(getattr(space.models, side))
        except InputError as error:
            problems.append(str(error))
    if problems or data is None:
        raise InputError("\n".join(problems))
    return space.model_copy(update={"models": space.models.model_copy(update=models)}), data


def _anchored(reference: str) -> str:
    path = locate(reference)
    return reference if path is None or reference.startswith(PREFIX) else str(path)


def prepare_models(space: SearchSpace, say: Callable[[str], None]) -> None:
    """Check both models' digests and convert what needs it; ``say`` hears what takes long."""
    for side in SIDES:
        prepare(getattr(space.models, side), getattr(space.models, f"{side}_sha256"), say)
