"""What all studies on a machine share, made once: a folder of files that are named by their content.

Its place is the environment variable ``RAGGRID_CACHE``, else ``~/.cache/raggrid``. All of it can be deleted while no
study runs; it is then made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raggrid.store.files import Files, files_at
from raggrid.store.local import LocalFiles

VARIABLE = "RAGGRID_CACHE"


def cache_folder() -> Path:
    """Where the cache lies; it need not exist."""
    return Path(os.environ.get(VARIABLE) or user_cache() / "raggrid").expanduser().absolute()


def user_cache() -> Path:
    """Where programs of this user keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The file ``name`` of the cache. Where it is missing, one process makes it and the others wait.

    Args:
        name: relative to the cache, a digest of all that the file follows from.
        make: writes the file to the path that it is given. If it raises, nothing is kept.

    Raises:
        OSError: the cache cannot be written.
    """
    files = LocalFiles(cache_folder())
    path = files.path / name
    if not path.exists():
        with _locked(path):
            if not path.exists():
                with files.writing(name) as part:
                    make(part)
    return path


def text_made_once(name: str, make: Callable[[], str]) -> str:
    """As `made_once`, for a short text."""

    def write(part: Path) -> None:
        part.write_text(make())

    return made_once(name, write).read_text()


def offer(files: Files, name: str, shared: str) -> None:
    """Keep a finished file of a run directory in the cache: linked where both lie on one file system, else copied.

    A cache that is full or cannot be written does not fail the task: the file is then not shared.
    """
    with contextlib.suppress(OSError), files.reading(name) as path:
        made_once(shared, lambda part: _link_or_copy(path, part))


def accept(files: Files, name: str, shared: str) -> bool:
    """Put the file ``shared`` of the cache into a run directory; False where the cache has none."""
    path = cache_folder() / shared
    if not path.is_file():
        return False
    with files.writing(name) as part:
        _link_or_copy(path, part)
    return True


def is_on_this_machine(files: Files) -> bool:
    """Whether the files of a run directory are on a disk or a mount of this machine."""
    return isinstance(files_at(files.address), LocalFiles)


def on_this_machine(files: Files, name: str, shared: str) -> Path:
    """A file of a run directory as one that can be mapped into memory: itself, or a copy that all processes share.

    Raises:
        OSError: it is missing, or its copy cannot be written.
    """
    if is_on_this_machine(files):
        with files.reading(name) as path:
            return path

    def fetch(part: Path) -> None:
        with files.reading(name) as path:
            shutil.copyfile(path, part)

    return made_once(shared, fetch)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
