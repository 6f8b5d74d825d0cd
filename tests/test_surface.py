"""What is public is frozen: verbs and options, columns, Python names, settings, keys of JSON."""

from __future__ import annotations

import pytest

from tests.surface import SURFACES, file, text

ADVICE = "Public: add, never rename or remove. If it is meant, 'python -m tests.surface', and a line in CHANGELOG.md."


@pytest.mark.parametrize("surface", SURFACES)
def test_the_surface_is_as_promised(surface: str) -> None:
    promised, found = file(surface).read_text(encoding="utf-8").splitlines(), text(surface).splitlines()
    gone = [line for line in promised if line not in found]
    new = [line for line in found if line not in promised]
    assert (gone, new) == ([], []), ADVICE
