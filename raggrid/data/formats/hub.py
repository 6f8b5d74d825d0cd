"""Data sets of the hub, or a folder of Parquet, by the same library: the one user of ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from raggrid.data.formats.problems import Place, Problems, Row
from raggrid.data.formats.row_files import RowTable
from raggrid.errors import DataError

PREFIX = "hub:"
CORPUS = "corpus"
QUERIES = "queries"


class Reference(NamedTuple):
    """``hub:NAME[@REVISION][#CONFIGURATION]``."""

    name: str
    revision: str | None
    configuration: str | None

    def __str__(self) -> str:
        revision, configuration = (f"{sign}{part}" if part else "" for sign, part in zip("@#", self[1:], strict=True))
        return f"{PREFIX}{self.name}{revision}{configuration}"


def parsed(text: str) -> Reference:
    """What a reference names. Raises `DataError` where it names nothing."""
    rest, _, configuration = text.removeprefix(PREFIX).partition("#")
    name, _, revision = rest.partition("@")
    if not name.strip():
        raise DataError(f"data.folder: got '{text}'; expected hub:NAME[@REVISION]. Name a data set of the hub.")
    return Reference(name, revision or None, configuration or None)


@dataclass(frozen=True)
class HubTable:
    """The rows of one split, which the library maps from its cache on disk."""

    path: Path
    split: Any

    def rows(self, problems: Problems) -> Iterator[Row]:
        if not len(self.split):
            problems.note(Place(self.path), "got no rows; expected at least one. Choose another split.")
        yield from ((Place(self.path, f": row {number}"), dict(row)) for number, row in enumerate(self.split, start=1))


def hub_tables(text: str, splits: Mapping[str, str]) -> dict[str, RowTable]:
    """The splits of a data set by their names on the hub; the corpus, where a configuration is called that.

    Args:
        text: the reference.
        splits: the user's own, such as ``train[:90%]`` by raggrid's names; these are then the names.

    Raises:
        DataError: it cannot be loaded: not there, no network and not in the cache, made by a script, or several
            configurations of which none was named.
    """
    reference = parsed(text)
    known = _configurations(reference)
    chosen = reference.configuration or _only(reference, [name for name in known if name != CORPUS])
    found = _loaded(reference, chosen, splits)
    if CORPUS in known and chosen != CORPUS:
        (found[CORPUS],) = list(_loaded(reference, CORPUS, {}).values())[:1]
    return found


def corpus_table(text: str) -> RowTable:
    """The first split of a data set that is a corpus. Raises `DataError` as `hub_tables` does."""
    tables = hub_tables(text, {})
    return tables.get(CORPUS) or next(iter(tables.values()))


def _only(reference: Reference, names: list[str]) -> str:
    if len(names) == 1 or "default" in names:
        return "default" if "default" in names else names[0]
    if QUERIES in names:
        return QUERIES
    raise DataError(
        f"{reference}: got {len(names)} configurations ({', '.join(names)}); expected one to be named, such as "
        f"{reference}#{names[0] if names else 'NAME'}."
    )


def _configurations(reference: Reference) -> list[str]:
    import datasets

    with _said(reference):
        return list(datasets.get_dataset_config_names(_place(reference), revision=reference.revision))


def _loaded(reference: Reference, configuration: str, splits: Mapping[str, str]) -> dict[str, RowTable]:
    import datasets

    datasets.disable_progress_bars()
    given = {"path": _place(reference), "name": configuration, "revision": reference.revision}
    with _said(reference):
        if splits:
            loaded = {role: datasets.load_dataset(**given, split=split) for role, split in splits.items()}
        else:
            loaded = dict(datasets.load_dataset(**given))
    named = f"{reference}" if reference.configuration else f"{reference}#{configuration}"
    return {str(name): HubTable(Path(f"{named}/{splits.get(name, name)}"), rows) for name, rows in loaded.items()}


def _place(reference: Reference) -> str:
    """A folder in place of the hub's name is read by the same function."""
    folder = Path(reference.name).expanduser()
    return str(folder) if folder.is_dir() else reference.name


class _said:  # noqa: N801 - reads as a phrase
    """Turns what the library raises into a `DataError` that names the data set."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        # The library raises whatever its parts do: OSError, ValueError, RuntimeError for scripts, its own classes.
        if isinstance(error, Exception):
            said = " ".join(str(error).split()).rstrip(".")
            raise DataError(
                f"{self.reference}: cannot be loaded: {said}. Check the name, the split and the network; data sets "
                "that are made by a script need a copy in Parquet."
            ) from None
