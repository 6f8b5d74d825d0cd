"""Trials that fail for real: exceptions, a storage in the way, losses that are no numbers, no memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raggrid.backend.ray.search import search
from raggrid.data.checked import checked_inputs
from raggrid.machine_faults import FaultRecord
from raggrid.records import PipelineRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.worker.opening import opened
from tests.conftest import SpaceMaker
from tests.processes import (
    command,
    finish,
    start,
    trials,
    wait_until,
)

pytestmark = pytest.mark.slow


def first_trial(space: SearchSpace, run: Path) -> str:
    """The id of the trial that a study starts with."""
    space, data = checked_inputs(space)
    state = opened(RunDirectory(run), space, data, extend=False)
    state.indexed = True
    first = state.take()
    assert first
    return first.key


def test_an_exception_in_a_trial_is_kept_and_the_study_goes_on(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space(strategies=["generator"])
    damaged = tmp_path / "r" / "checkpoints" / first_trial(space, tmp_path / "r") / "state" / "state.safetensors"
    search = start(command(space, tmp_path / "r"))
    wait_until((tmp_path / "r" / "space.yaml").exists, "the study begins")
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_text("not a state")
    _, told = search.communicate(timeout=240)
    assert search.returncode == 0, told
    name = damaged.parents[1].name
    rows = trials(tmp_path / "r")
    assert sorted(row.status for row in rows.values()) == ["completed", "failed"]
    assert "Traceback" in (rows[name].error or "")
    assert f"{name}: failed" in told
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == {"generator"}
    done = finish(command(space, tmp_path / "r", "--retry-failed"))
    assert done.returncode == 0, done.stderr
    assert {row.status for row in trials(tmp_path / "r").values()} == {"completed"}


def test_a_storage_that_fails_a_trial_leaves_it_to_the_same_command(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space(strategies=["generator"])
    blocked = tmp_path / "r" / "checkpoints" / first_trial(space, tmp_path / "r")
    search = start(command(space, tmp_path / "r"))
    wait_until((tmp_path / "r" / "space.yaml").exists, "the study begins")
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file where the trial wants its folder")
    shown, told = search.communicate(timeout=240)
    assert search.returncode == 1, told
    assert "incomplete: machines failed too often" in told
    assert f"failed {blocked.name}" in shown
    assert blocked.name not in trials(tmp_path / "r")
    assert [row.consequence for row in read(tmp_path / "r", FaultRecord)] == ["retried", "retried", "given_up"]
    blocked.unlink()
    done = finish(command(space, tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    assert {row.status for row in trials(tmp_path / "r").values()} == {"completed"}


def test_a_loss_that_is_no_number_ends_its_trial_alone(tmp_path: Path, make_space: SpaceMaker) -> None:
    """A rate of one blows the embedder's weights up until their squares are beyond float32."""
    space = make_space(
        strategies=["generator"], learning_rates={"generator": [1.0, 1e-3]},
        training={"rag": {"steps": 60, "batch_size": 2}, "max_grad_norm": 1e30, "weight_decay": 1000.0},
    )  # fmt: skip
    search(space, tmp_path / "r")
    status = {row.generator_lr: row.status for row in trials(tmp_path / "r").values()}
    assert status == {1.0: "diverged", 1e-3: "completed"}


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from tests.trials import done, phase_task
from raggrid.worker.build import passage_index
import torch, transformers, peft
torch.set_num_threads(1)
run = Path(sys.argv[1])
done(phase_task("closed_book", key="warm", steps=1), run)  # short prompts: the heap stays small
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000, -1))
print(done(phase_task("generator_rag", key="hungry", steps=1), run)[-1])
"""


def test_no_memory_is_a_failed_trial_with_advice(tmp_path: Path, make_space: SpaceMaker) -> None:
    """A process that may have 150 MB more (threads want some), and a batch that needs several times that."""
    from tests.trials import prepared_run

    space = make_space(training={"rag": {"steps": 1, "batch_size": 512}}, prompt={"passage_tokens": 200})
    run = prepared_run(tmp_path / "r", space)
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY, run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Status.FAILED" in done.stdout
    assert "Out of device memory. Lower training.rag.batch_size" in done.stdout
