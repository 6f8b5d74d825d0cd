"""The data of a search space, read and checked against what its strategies need; its models, looked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raggrid.data.folder import Dataset, read_folder
from raggrid.errors import DataError, InputError
from raggrid.rag.loading import prepare
from raggrid.rag.references import PREFIX, locate
from raggrid.space.lengths import Rows, needs_rows, with_steps
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import STRATEGIES

SIDES = ("embedder", "generator")


def data_of(space: SearchSpace) -> Dataset:
    """The study's data, within its limits. Raises `DataError` for wrong files."""
    folder = Path(space.data.folder).expanduser()
    return read_folder(folder, {str(split): count for split, count in space.data.limits.items()}, space.data.sample)


def checked_data(space: SearchSpace) -> Dataset:
    """The study's data, within its limits.

    Raises:
        DataError: the files are wrong, or lack labels that a strategy needs.
    """
    data = data_of(space)
    needy = [name for name in space.strategies if STRATEGIES[name].needs_labels]
    unlabelled, total = data.num_unlabelled("train"), len(data.splits["train"])
    if needy and unlabelled:
        others = " or ".join(
            name for name, about in STRATEGIES.items() if about.marginalises and not about.needs_labels
        )
        raise DataError(
            f"strategy '{needy[0]}' needs context labels; {unlabelled} of {total} training questions have none. "
            f"Label them, or use {others}."
        )
    return data


def training_rows(space: SearchSpace, data: Dataset) -> Rows:
    """What an epoch of each kind of phase goes over."""
    gold = [len(question.context_ids) for question in data.splits["train"]]
    pairs = sum(gold) if space.training.labels.positives == "all" else sum(count > 0 for count in gold)
    return Rows(labels=pairs, rag=len(gold))


def with_lengths(space: SearchSpace, data: Dataset | None = None) -> SearchSpace:
    """The space with steps for epochs: counted in ``data``, or where its folder is not here, by its limit of questions.

    Raises:
        SpaceError: neither is known, or steps and epochs contradict each other.
        DataError: the data that is here is wrong.
    """
    if not needs_rows(space):
        return space
    if data is None and Path(space.data.folder).expanduser().is_dir():
        data = data_of(space)
    limit = space.data.limits.get("train")
    assumed = Rows(labels=limit, rag=limit) if limit else None  # with one gold passage per question
    return with_steps(space, training_rows(space, data) if data else assumed)


def checked_inputs(space: SearchSpace) -> tuple[SearchSpace, Dataset]:
    """The space with its paths made absolute, since trials run in other folders, and its lengths in steps; its data.

    Raises:
        InputError: with the problems of data and models, all at once.
    """
    folder = Path(space.data.folder).expanduser().absolute()
    problems, models, data = [], {}, None
    space = space.model_copy(update={"data": space.data.model_copy(update={"folder": str(folder)})})
    try:
        data = checked_data(space)
        space = with_lengths(space, data)
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


def prepared_inputs(space: SearchSpace, say: Callable[[str], None]) -> tuple[SearchSpace, Dataset]:
    """As `checked_inputs`, and the models ready to be loaded; ``say`` hears what takes long.

    Raises:
        InputError: with the problems of data and models, all at once; or weights that are not the expected ones.
    """
    checked, data = checked_inputs(space)
    for side in SIDES:
        prepare(getattr(checked.models, side), getattr(checked.models, f"{side}_sha256"), say)
    return checked, data


def _anchored(reference: str) -> str:
    path = locate(reference)
    return reference if path is None or reference.startswith(PREFIX) else str(path)
