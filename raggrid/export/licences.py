"""Where a model came from and under which licence, as far as its own files say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from raggrid.rag.references import PREFIX, cached_snapshot, locate

_LICENCE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Origin:
    """A base model. ``hub_name``: None for a folder or a package; ``licence``: None where its files do not say."""

    reference: str
    hub_name: str | None
    licence: str | None


def origin(reference: str) -> Origin:
    """Where a model reference leads to."""
    path = locate(reference)
    hub = reference if path is None and _HUB_NAME.fullmatch(reference) else None
    folder = cached_snapshot(reference) if path is None else path if path.is_dir() else path.parent
    return Origin(reference, hub, (_of_card(folder) if folder else None) or _of_package(reference))


def _of_card(folder: Path) -> str | None:
    """The licence in the header of a model card."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    header = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    found = _LICENCE.search(header)
    return found[1] if found else None


def _of_package(reference: str) -> str | None:
    """The licence that the package of a ``package:`` reference states."""
    if not reference.startswith(PREFIX):
        return None
    try:
        about = metadata(reference.removeprefix(PREFIX).partition("/")[0])
    except PackageNotFoundError:
        return None
    stated = [about[name].strip() for name in ("License-Expression", "License") if name in about]
    return next((text.splitlines()[0] for text in stated if text), None)
