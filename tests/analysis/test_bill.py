"""The bill, by category and by type of device, each at its price."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from raggrid.analysis.bill import bill
from raggrid.errors import InputError
from raggrid.prices import Price, price_of
from raggrid.show.printed_bill import show_bill
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


def test_types_are_shown_apart_and_add_up_in_dollars_alone(run: Path) -> None:
    def shown(price: Price | None) -> str:
        out = Console(width=80, file=StringIO(), force_terminal=False)
        show_bill(bill(run, price=price), out)
        assert isinstance(out.file, StringIO)
        return " ".join(out.file.getvalue().split())

    apart = shown(None)
    assert "The bill of NVIDIA H100 80GB HBM3, in GPU-minutes" in apart
    assert "are not added up, since these devices cost different amounts" in apart
    assert "$" not in apart
    assert "A10G, each at its price: $9.50." in shown({"H100": 4.0, "A10G": 1.0}).replace(
        "A10G and NVIDIA A10G and NVIDIA H100 80GB HBM3", "A10G"
    )


@pytest.mark.parametrize(
    ("device", "price", "dollars"),
    [
        ("NVIDIA A10G", {"a10": 1.0, "A100": 4.0}, 1.0),
        ("NVIDIA A100-SXM4-80GB", {"A10": 1.0, "A100": 4.0}, 4.0),
        ("NVIDIA A10G", {"A10": 1.0, "A10G": 2.0}, 2.0),
        ("cpu", 0.5, 0.5),
    ],
)
def test_a_name_stands_for_the_types_that_it_means(device: str, price: Price, dollars: float) -> None:
    assert price_of(device, price) == dollars


def test_the_price_of_an_a10_is_not_that_of_an_a100() -> None:
    with pytest.raises(InputError, match=r"expected one for NVIDIA A100-SXM4-80GB as well\. Add"):
        price_of("NVIDIA A100-SXM4-80GB", {"A10": 1.0})
