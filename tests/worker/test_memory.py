"""What a task used is given back before the next one: trials may share a device."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from raggrid.finetune.trainer import Trainer
from raggrid.worker import run_task
from raggrid.worker.run_task import _free_memory
from tests.conftest import SpaceMaker
from tests.trials import done, phase_task, prepared_run


@pytest.mark.parametrize("on_gpu", [False, True])
def test_memory_of_a_gpu_is_given_back_where_one_is_used(monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    _free_memory()
    assert given_back == [True] * on_gpu


def test_a_failed_task_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from raggrid.finetune.workers import Worker
    from raggrid.records import Report, Status
    from raggrid.study.tasks import Dispatch, IndexTask

    freed, reports = list[bool](), list[Report]()
    monkeypatch.setattr(run_task, "_free_memory", lambda: freed.append(True))
    run_task.run_task(Dispatch(task=IndexTask(), run_dir=str(tmp_path)), Worker(reports.append))
    assert [report.status for report in reports] == [Status.FAULTED]  # it sees no run directory
    assert freed == [True, True]  # before it, and after it


def test_nothing_holds_the_models_when_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_space: SpaceMaker
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    alive: list[int] = []

    def count() -> None:
        gc.collect()
        alive.append(sum(isinstance(each, Trainer) for each in gc.get_objects()))

    monkeypatch.setattr(run_task, "_free_memory", count)
    done(phase_task("generator_rag", steps=1), run)
    assert alive[-1] == alive[0]
