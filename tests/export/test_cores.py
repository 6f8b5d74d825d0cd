"""An export is computed with the threads of its evaluation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from raggrid.export.cores import MOST_BATCHES, as_evaluated, batches_at_once


def exported(threads: int | None, device: str = "cpu") -> Any:
    return SimpleNamespace(how={"threads": threads}, device=device)


def test_the_calling_thread_computes_with_the_threads_of_the_study_and_then_as_before() -> None:
    before = torch.get_num_threads()
    with as_evaluated(exported(before + 1)):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with as_evaluated(exported(None)):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("threads", "device", "cores", "expected"),
    [(1, "cpu", 2, 2), (2, "cpu", 2, 1), (4, "cpu", 2, 1), (1, "cpu", 64, MOST_BATCHES), (None, "cpu", 8, 1),
     (1, "cuda", 8, 1)],
)  # fmt: skip
def test_as_many_batches_are_under_way_as_the_cores_have_room_for(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, device: str, cores: int, expected: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert batches_at_once(exported(threads, device)) == expected
