"""The Python API: light to import, and every name of it is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import raggrid


def test_importing_raggrid_imports_nothing_else() -> None:
    code = "import sys, raggrid; sys.exit(str([n for n in sys.modules if n.startswith('raggrid.')] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("name", raggrid.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(raggrid, name).__doc__
    assert name in dir(raggrid)


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(raggrid.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert seen == {name: f"raggrid.{module}" for name, module in raggrid._MODULES.items()}


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'raggrid' has no attribute 'tune'"):
        _ = raggrid.tune  # type: ignore[attr-defined]


def test_no_room_has_the_name_of_a_function() -> None:
    """A package that is imported becomes an attribute of raggrid, in place of the function."""
    rooms = {path.stem for path in Path(raggrid.__file__).parent.iterdir()}
    assert not rooms & set(raggrid.__all__)
