"""A trial that holds a GPU computes on it, or says why not."""

from __future__ import annotations

import pytest
import torch

from raggrid.backend.ray import inline
from raggrid.backend.ray.inline import device_for, run_here
from raggrid.records import Report, Status


def test_a_gpu_that_torch_does_not_see_is_a_fault_of_its_node_instead_of_training_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(inline, "begun", lambda: Report(status=Status.BEGUN, node="here"))
    reports: list[Report] = []
    run_here({"cpus": 1, "gpus": 0.5}, reports.append)
    assert [report.status for report in reports] == [Status.BEGUN, Status.FAULTED]
    assert "torch sees no CUDA; install a torch build for CUDA" in (reports[1].error or "")


def test_what_a_trial_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (device_for(0), device_for(0.25)) == (torch.device("cpu"), torch.device("cuda"))
