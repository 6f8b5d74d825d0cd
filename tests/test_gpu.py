"""What needs a CUDA device: the same phase runs there, with the numbers of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raggrid.finetune import micro_batch
from raggrid.finetune.micro_batch import GpuMemory
from raggrid.finetune.workers import Worker
from raggrid.records import CurveRecord, Report, Status
from raggrid.store.kept import read_micro_batches
from raggrid.store.tables import read
from raggrid.study.tasks import Dispatch
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import done, phase_task, prepared_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("phase", ["embedder_labels", "generator_rag", "embedder_rag", "joint_rag"])
def test_a_phase_on_the_gpu_gives_the_numbers_of_the_cpu(tmp_path: Path, make_space: SpaceMaker, phase: str) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    done(phase_task(phase, key="cpu"), run)
    reports: list[Report] = []
    worker = Worker(report=reports.append, device=torch.device("cuda"))
    run_task(Dispatch(task=phase_task(phase, key="gpu"), run_dir=str(run)), worker)
    assert reports[-1].status == Status.COMPLETED, reports[-1]
    assert reports[-1].device_type == torch.cuda.get_device_name()
    curves = {
        name: [row.objective for row in read(run, CurveRecord) if row.trial_id == name] for name in ("cpu", "gpu")
    }
    assert curves["gpu"] == pytest.approx(curves["cpu"], rel=1e-2)


def test_as_many_questions_pass_through_at_once_as_fit_the_gpu(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared_run(tmp_path / "r", make_space(training={"rag": {"steps": 6, "batch_size": 8}}))
    reports: list[Report] = []
    worker = Worker(report=reports.append, device=torch.device("cuda"))
    run_task(Dispatch(task=phase_task("joint_rag", key="whole"), run_dir=str(run)), worker)
    (whole,) = read_micro_batches(run)
    assert (whole["micro_batch_size"], whole["questions"]) == (8, 8)
    room = GpuMemory(worker.device, whole["peak_bytes"] - 1.0)  # one byte is missing for all of them
    monkeypatch.setattr(micro_batch, "memory_of", lambda device, share: room)
    run_task(Dispatch(task=phase_task("joint_rag", key="parts"), run_dir=str(run)), worker)
    less = read_micro_batches(run)[-1]
    assert 1 <= less["micro_batch_size"] < 8
    assert less["peak_bytes"] < whole["peak_bytes"]
    curves = {
        name: [row.objective for row in read(run, CurveRecord) if row.trial_id == name] for name in ("whole", "parts")
    }
    assert curves["parts"] == pytest.approx(curves["whole"], rel=1e-3)
