"""Golden losses: each phase trains on the tiny models as it did when tests/assets/golden.json was recorded.

A failure means that the numbers of every study move. If that is meant, say why in DECISIONS.md, give the proof of value
that CONTRIBUTING.md asks for, and record them anew: ``python -m tests.golden``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden import FILE, golden

RELATIVE = 1e-4  # processors add up in different orders


def test_each_phase_trains_as_recorded(tmp_path: Path) -> None:
    recorded, found = json.loads(FILE.read_text()), golden(tmp_path)
    assert found.keys() == recorded.keys()
    for name, values in recorded.items():
        for measure, value in values.items():
            assert found[name][measure] == pytest.approx(value, rel=RELATIVE), (name, measure)
