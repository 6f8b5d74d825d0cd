"""The bill, by category and by type of device, each at its price."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.analysis.bill import bill
from raggrid.errors import InputError
from raggrid.store.tables import append, create_run
from tests.records import charge, made_space


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two hours on an H100, one and a half on an A10G, one of them idle."""
    create_run(tmp_path / "r", made_space(), {})
    slices = [("train", 7200.0, "NVIDIA H100 80GB HBM3"), ("train", 1800.0, "NVIDIA A10G"), ("idle", 3600.0, "A10G")]
    append(tmp_path / "r", [replace(charge(kind, seconds), device_type=name) for kind, seconds, name in slices])
    return tmp_path / "r"


def test_each_type_of_device_is_billed_at_its_price(run: Path) -> None:
    found = bill(run, price={"h100": 4.0, "A10G": 1.0})
    assert found.by_device_type == {"A10G": 3600.0, "NVIDIA A10G": 1800.0, "NVIDIA H100 80GB HBM3": 7200.0}
    assert found.total == sum(found.by_device_type.values())
    assert found.dollars == pytest.approx(2 * 4.0 + 1.5 * 1.0)
    assert bill(run, price=2.0).dollars == pytest.approx(2.0 * 3.5)
    assert bill(run).dollars is None


def test_a_type_without_a_price_is_named(run: Path) -> None:
    with pytest.raises(InputError, match="expected one for A10G as well"):
        bill(run, price={"h100": 4.0})
