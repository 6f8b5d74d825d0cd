"""The data of a search space, read and checked against what its strategies need; its models, looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from raggrid.data.chunks import Chunker
from raggrid.data.folder import NEEDED, Dataset, read_source
from raggrid.data.formats.finding import find_source
from raggrid.data.formats.hub import PREFIX as HUB
from raggrid.errors import DataError, InputError
from raggrid.rag.loading import prepare
from raggrid.rag.references import PREFIX, locate
from raggrid.space.lengths import Rows, needs_rows, with_steps
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Data
from raggrid.space.yaml_io import bare_space
from raggrid.strategies import STRATEGIES

SIDES = ("embedder", "generator")


def data_of(space: SearchSpace, needed: Sequence[str] = NEEDED) -> Dataset:
    """The study's data, within its limits. Raises `DataError` for wrong files, or without the splits ``needed``."""
    settings = space.data
    limits = {str(split): count for split, count in settings.limits.items()}
    chunker = _chunker(settings, space.models.embedder)
    return read_source(find_source(settings), limits, settings.sample, chunker=chunker, needed=needed)


def read_data(source: str, overrides: Sequence[str] = ()) -> Dataset:
    """The data in a folder or on the hub, with any splits.

    Args:
        source: a value of ``data.folder``.
        overrides: settings of data, such as ``data.columns.answers=short``.

    Raises:
        SpaceError: wrong overrides.
        DataError: wrong files.
    """
    return data_of(bare_space(source, overrides), needed=())


def _chunker(settings: Data, embedder: str) -> Chunker | None:
    if settings.chunk_tokens is None:
        return None
    from raggrid.rag.text_tokens import token_spans

    name = f"{embedder} {settings.chunk_tokens} {settings.chunk_overlap}"
    return Chunker(token_spans(embedder), settings.chunk_tokens, settings.chunk_overlap, name)


def is_here(settings: Data) -> bool:
    """Whether this machine can read the data: a folder that exists, or a name on the hub."""
    return settings.folder.startswith(HUB) or Path(settings.folder).expanduser().is_dir()


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
            name
            for name, about in STRATEGIES.items()
            if about.marginalises and not (about.needs_labels or about.is_control)
        )
        raise DataError(
            f"strategy '{needy[0]}' needs context labels; {unlabelled} of {total} training questions have none. "
            f"Label them, or use {others}."
        )
    _check_gold(space, data)
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
    if data is None and is_here(space.data):
        data = data_of(space)
    limit = space.data.limits.get("train")
    assumed = Rows(labels=limit, rag=limit) if limit else None  # with one gold passage per question
    return with_steps(space, training_rows(space, data) if data else assumed)


def _check_gold(space: SearchSpace, data: Dataset) -> None:
    """A control that reads labelled passages answers the questions that have some: every split needs one."""
    reading = [name for name in space.strategies if STRATEGIES[name].given_labelled]
    for split, rows in data.splits.items():
        if reading and split != "train" and data.num_unlabelled(split) == len(rows):
            raise DataError(
                f"strategy '{reading[0]}' answers from labelled passages; none of the {len(rows)} {split} questions "
                f"has any. Label some, or leave out {', '.join(reading)}."
            )


def checked_inputs(space: SearchSpace) -> tuple[SearchSpace, Dataset]:
    """The space with its paths made absolute, since trials run in other folders, and its lengths in steps; its data.

    Raises:
        InputError: with the problems of data and models, all at once.
    """
    problems, models, data = [], {}, None
    paths = {key: _absolute(value) for key in ("folder", "corpus") if (value := getattr(space.data, key))}
    space = space.model_copy(update={"data": space.data.model_copy(update=paths)})
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
    """As `checked_inputs`, and the models ready to be loaded; ``say`` hears how data was read and what
    takes long.

    Raises:
        InputError: with the problems of data and models, all at once; or weights that are not the expected ones.
    """
    checked, data = checked_inputs(space)
    for sentence in data.about:
        say(sentence)
    for side in SIDES:
        prepare(getattr(checked.models, side), getattr(checked.models, f"{side}_sha256"), say)
    return checked, data


def _absolute(place: str) -> str:
    return place if place.startswith(HUB) else str(Path(place).expanduser().absolute())


def _anchored(reference: str) -> str:
    path = locate(reference)
    return reference if path is None or reference.startswith(PREFIX) else str(path)
