"""A generator in shards on two workers trains, is kept, continues and is exported as a whole one is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from raggrid.finetune.data_parallel import DataParallel
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.records import Report, Status
from raggrid.store.files import files_at
from raggrid.study.tasks import Dispatch, PhaseTask
from raggrid.worker.build import train_task
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import curve, done, phase_task, prepared_run
from tests.two_workers import TwoWorkers

SHARDED: dict[str, Any] = {"generator": "full", "sharding": "fsdp"}
QUESTIONS = [Mock(name=f"q{number}") for number in range(7)]


@pytest.mark.parametrize(("num_questions", "size"), [(7, 2), (5, 1), (5, 3), (1, 4), (4, 2)])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_passes_cover_a_batch_once_and_are_equally_many_where_weights_are_sharded(
    num_questions: int, size: int, is_sharded: bool
) -> None:
    made = []
    for rank in range(3):
        parallel = DataParallel(Worker(report=lambda _: None, rank=rank, world_size=3), None)
        parallel.is_sharded = is_sharded
        made.append(parallel.passes(QUESTIONS[:num_questions], size))
    counted = [question for passes in made for each in passes if each.weight for question in each.questions]
    assert sorted(map(id, counted)) == sorted(map(id, QUESTIONS[:num_questions]))
    assert all(each.questions and len(each.questions) <= size for passes in made for each in passes)
    assert all(each.weight == 1.0 for passes in made for each in passes) or is_sharded
    assert len({len(passes) for passes in made}) == 1 or not is_sharded


# Two processes


def steps(rank: int, run: str, task: PhaseTask, world_size: int, device: str) -> dict[str, Any]:
    """Losses, norms and gradients of two steps, and the weights after them."""
    own = torch.device(device, rank) if device == "cuda" else torch.device(device)
    worker = Worker(report=lambda _: None, rank=rank, world_size=world_size, device=own)
    trainer, gradients = Trainer(train_task(files_at(run), task, worker), worker), list[Tensor]()
    trainer.optimizer.register_step_pre_hook(lambda *_: gradients.append(_flat(trainer, "grad")))
    taken = [trainer.step(step) for step in range(2)]
    trainer.measure()
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in trainer.trained.values())
    return {
        "losses": [each.loss for each in taken], "norms": [each.norms["generator"] for each in taken],
        "gradients": gradients, "weights": _flat(trainer, "data"), "held": held,
        "objective": trainer.progress.objective,
    }  # fmt: skip


def _flat(trainer: Trainer, what: str) -> Tensor:
    found = [getattr(p, what) for p in trainer.trained.values() if p.grad is not None or what == "data"]
    return torch.cat([(t.full_tensor() if isinstance(t, DTensor) else t).flatten().cpu() for t in found])


def work(rank: int, run: str, task: PhaseTask) -> list[Report]:
    reports: list[Report] = []
    run_task(Dispatch(task=task, run_dir=run), Worker(report=reports.append, rank=rank, world_size=2))
    return reports


TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "batch_size", "micro"), [("generator_rag", 5, 1), ("joint_rag", 4, None)])
@pytest.mark.parametrize(
    ("device", "error"), [("cpu", 1e-5), pytest.param("cuda", 1e-4, marks=[pytest.mark.gpu, TWO_GPUS])]
)
def test_shards_give_the_gradients_and_weights_of_the_whole(
    tmp_path: Path,
    make_space: SpaceMaker,
    pair: TwoWorkers,
    device: str,
    error: float,
    phase: str,
    batch_size: int,
    micro: int | None,
) -> None:
    rag = {"steps": 6, "batch_size": batch_size, "micro_batch_size": micro}
    space = make_space(training={**SHARDED, "rag": rag}, resources={"workers": 2})
    run, task = str(prepared_run(tmp_path / "r", space)), phase_task(phase)
    whole = steps(0, run, task, 1, device)
    for part in pair.do(steps, run, task, 2, device):
        assert part["losses"] == pytest.approx(whole["losses"], rel=error / 10)
        assert part["norms"] == pytest.approx(whole["norms"], rel=error)
        for given, expected in zip(part["gradients"], whole["gradients"], strict=True):
            torch.testing.assert_close(given, expected, rtol=0, atol=error)
        torch.testing.assert_close(part["weights"], whole["weights"], rtol=0, atol=10 * error)
        assert part["objective"] == pytest.approx(whole["objective"], rel=10 * error)
        if phase == "generator_rag":
            assert part["held"] < 0.6 * whole["held"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(2, 2), (2, 1), (1, 2)])
def test_what_shards_have_saved_any_number_of_workers_continues_and_a_stock_library_loads(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers, workers: tuple[int, int]
) -> None:
    from transformers import AutoModelForCausalLM

    run = prepared_run(tmp_path / "r", make_space(training=SHARDED, resources={"workers": 2}))
    done(phase_task("joint_rag", key="straight"), run)
    whole = phase_task("joint_rag", key="handed")
    for number, task in zip(workers, (replace(whole, pause_at=2), whole), strict=True):
        reports = pair.do(work, str(run), task)[0] if number == 2 else done(task, run)
    assert (reports[-1].status, reports[-1].step) == (Status.COMPLETED, 6)
    expected = curve(run, "straight")[-1]
    assert (reports[-1].step, reports[-1].objective) == pytest.approx(expected[:2], rel=1e-4)
    shards = [path.name for path in (run / "checkpoints" / "handed" / "state").iterdir()]
    assert len(shards) == 1 + (workers[1] == 2)  # the state, and the last shards alone
    kept = [run / "checkpoints" / key / "generator" for key in ("straight", "handed")]
    ids = torch.arange(20)[None]
    one, other = (AutoModelForCausalLM.from_pretrained(folder)(ids).logits.detach() for folder in kept)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-2)
    assert (kept[0] / "config.json").read_text() == (kept[1] / "config.json").read_text()
