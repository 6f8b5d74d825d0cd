"""Results and searches in a notebook. Rooms above decide what they look like: found by name when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


class Displayed:
    """A result that a notebook shows as tables and charts instead of its ``repr``."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Called by IPython: the same result as HTML, which needs no network, and as text."""
        bundle: dict[str, str] = import_module("raggrid.report.notebook_view").bundle(self)
        return bundle


def notebook_screens() -> list[Callable[[Any], None]]:
    """The observer that shows a search in the cell that runs it; none outside of a notebook."""
    if not in_notebook():
        return []
    return [import_module("raggrid.show.notebook_screen").NotebookScreen()]


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this. Imports nothing."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell else None
    return getattr(found, "kernel", None) is not None
