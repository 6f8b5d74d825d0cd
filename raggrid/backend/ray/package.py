"""What a submitted study takes along: its space, and the small local files that the space names. No secrets."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raggrid.data.checked import SIDES, checked_data
from raggrid.data.formats.finding import data_files
from raggrid.data.formats.hub import PREFIX as HUB
from raggrid.errors import InputError
from raggrid.rag.references import PREFIX, locate
from raggrid.space.search_space import SearchSpace

MEGABYTES = 100  # Ray keeps packages in the head's memory, and takes none above 512 MiB
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|PRIVATE|(^|_)(API|ACCESS)?_?KEY(_|$)", re.I)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOGIN = re.compile(r"://[^/@\s]*:[^/@\s]+@")  # https://user:password@host


@dataclass(frozen=True)
class Package:
    """A folder to send, and the settings by which the space finds in it what was packed."""

    folder: Path
    overrides: tuple[str, ...]


@contextmanager
def packed(file: Path, space: SearchSpace, say: Callable[[str], None]) -> Iterator[Package]:
    """The space's file with its data, models and modules of metrics, as far as they are here and small enough.

    Larger ones stay where they are: ``say`` hears which path every node must then have.

    Raises:
        InputError: a relative path that is not here and so means nothing on the cluster; or wrong data.
    """
    with tempfile.TemporaryDirectory(prefix="raggrid-") as scratch:
        folder, moved = Path(scratch), []
        shutil.copyfile(file, folder / file.name)
        for key, source, files in _inputs(space):
            moved.append(f"{key}={_taken(key, source, files, folder, say)}")
        for module in _modules(space):
            shutil.copyfile(module, folder / module.name)
        yield Package(folder, tuple(moved))


def _inputs(space: SearchSpace) -> Iterator[tuple[str, Path, list[Path]]]:
    """Setting, local path and files of each input that lies on this machine."""
    data = Path(space.data.folder).expanduser()
    if data.is_dir():
        checked_data(space)
        yield "data.folder", data.absolute(), data_files(space.data)
    elif not data.is_absolute() and not space.data.folder.startswith(HUB):
        raise InputError(
            f"data.folder: got '{space.data.folder}', which is not here; expected a folder of this machine, or an "
            "absolute path that every node of the cluster has."
        )
    for side in SIDES:
        reference = getattr(space.models, side)
        absent = reference.startswith(PREFIX) or (Path(reference).is_absolute() and not Path(reference).exists())
        path = None if absent else locate(reference)  # a path of the cluster's nodes, or of a package of theirs
        if path:
            inside = [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else [path]
            yield f"models.{side}", path, inside


def _taken(key: str, source: Path, files: Sequence[Path], folder: Path, say: Callable[[str], None]) -> Path:
    """Copy an input into the folder and return its path there; the path as it is where that would be too much."""
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    packed_so_far = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    if megabytes + packed_so_far > MEGABYTES:
        say(f"{key}: {source} has {megabytes:,.0f} MB and is not sent; every node must have it at this path.")
        return source
    inside = Path(key.replace(".", "-"))
    if source.is_file():
        inside = inside.with_suffix(source.suffix)
        shutil.copyfile(source, folder / inside)
        return inside
    wanted = set(files)
    shutil.copytree(source, folder / inside, ignore=lambda at, names: _others(Path(at), names, wanted))
    return inside


def _others(folder: Path, names: Sequence[str], wanted: set[Path]) -> list[str]:
    return [name for name in names if not ((folder / name).is_dir() or folder / name in wanted)]


def _modules(space: SearchSpace) -> Iterator[Path]:
    """The files of the user's own metrics that are not installed packages."""
    for reference in space.custom_metrics.values():
        spec = importlib.util.find_spec(reference.partition(":")[0].partition(".")[0])
        origin = Path(spec.origin) if spec and spec.origin else None
        if origin and origin.suffix == ".py" and origin.name != "__init__.py" and "site-packages" not in origin.parts:
            yield origin


def variables(given: Sequence[str]) -> dict[str, str]:
    """Environment variables for a job, from ``NAME=VALUE``, or ``NAME`` for the value that it has here.

    Raises:
        InputError: for one that is unset here, and for one that looks like a secret: a job's environment is shown to
            everybody who may open the dashboard, and is kept by the cluster.
    """
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not NAME.fullmatch(name):
            raise InputError(f"--env: got '{name}'; expected NAME=VALUE, or NAME for its value here.")
        if SECRET.search(name) or LOGIN.search(value or os.environ.get(name, "")):
            raise InputError(
                f"--env {name}: looks like a secret, and a job's environment can be read by everybody who reaches the "
                "dashboard. Set it on the nodes, as docs/cluster.md shows, or give them a role; it is then found there."
            )
        if not sign and name not in os.environ:
            raise InputError(f"--env {name}: not set here; expected a variable of this shell, or NAME=VALUE. Set it.")
        found[name] = value if sign else os.environ[name]
    return found
