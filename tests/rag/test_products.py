"""Matrix products by another library: the same numbers, and the model as it was afterwards."""

from __future__ import annotations

import pytest
import torch

from raggrid.rag import products
from raggrid.rag.products import fast_linear


def model() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(96, 200), torch.nn.GELU(), torch.nn.Linear(200, 32, bias=False)).eval()


@pytest.mark.parametrize("processor", ["vendor_id : AuthenticAMD", "vendor_id : GenuineIntel"])
def test_numbers_are_those_of_float64_and_the_model_is_left_as_it_was(
    processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_processor", lambda: processor)
    subject, inputs = model(), torch.randn(7, 5, 96)
    before = subject(inputs)
    with fast_linear(subject):
        assert ("forward" in vars(subject[0])) == ("AMD" in processor)
        inside = subject(inputs)
    exact = model().double()(inputs.double())
    torch.testing.assert_close(inside.double(), exact, rtol=1e-5, atol=1e-6)
    assert not inside.requires_grad
    assert torch.equal(subject(inputs), before)
    assert subject(inputs).requires_grad


def test_weights_that_moved_are_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_processor", lambda: "AuthenticAMD")
    subject, inputs = model(), torch.randn(3, 96)
    with fast_linear(subject):
        subject(inputs)
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.mul_(-2.0)
    expected = subject(inputs).detach()
    with fast_linear(subject):
        torch.testing.assert_close(subject(inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [lambda m: m.bfloat16(), lambda m: m.double()])
def test_only_float32_is_touched(change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_processor", lambda: "AuthenticAMD")
    assert callable(change)
    subject = change(model())
    with fast_linear(subject):
        assert "forward" not in vars(subject[0])
