"""What needs a CUDA device: the same phase runs there, with the numbers of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raggrid.finetune.workers import Worker
from raggrid.records import CurveRecord, Report, Status
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
