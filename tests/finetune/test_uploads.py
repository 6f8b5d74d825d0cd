"""A state is uploaded while training goes on: what it holds is of the moment at which it was taken."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from raggrid.finetune.checkpoints import StateSaver, load_state
from raggrid.records import TrainingProgress
from raggrid.store.run_layout import state
from tests.store.memory_files import MemoryFiles


class Slow(MemoryFiles):
    """Files whose uploads wait until they may go on, and fail where ``error`` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.error: OSError | None = None

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with super().writing(name) as path:
            yield path
            assert self.may.wait(60)
            if self.error:
                raise self.error


def trained(value: float) -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
    parameters = {"weight": torch.nn.Parameter(torch.full((4,), value))}
    return parameters, torch.optim.AdamW(parameters.values())


def test_training_goes_on_while_a_state_is_uploaded_and_does_not_change_it() -> None:
    files = Slow()
    saver, (parameters, optimizer) = StateSaver(files, "t"), trained(1.0)
    saver.save(parameters, optimizer, TrainingProgress(step=1))
    with torch.no_grad():
        parameters["weight"].fill_(2.0)  # another step
    assert not files.exists(state("t"))
    files.may.set()
    saver.wait()
    kept, other = trained(0.0)
    progress = load_state(files, "t", kept, other)
    assert progress
    assert (progress.step, kept["weight"].tolist()) == (1, [1.0] * 4)


def test_the_next_state_waits_for_the_last_and_tells_that_it_failed() -> None:
    files = Slow()
    saver, (parameters, optimizer) = StateSaver(files, "t"), trained(1.0)
    files.error = OSError(errno.ENOSPC, "No space left on device")
    files.may.set()
    saver.save(parameters, optimizer, TrainingProgress(step=1))
    with pytest.raises(OSError, match="No space left"):
        saver.save(parameters, optimizer, TrainingProgress(step=2))
    files.error = None
    saver.save(parameters, optimizer, TrainingProgress(step=3))
    saver.wait()
    saver.wait()
    found = load_state(files, "t", *trained(0.0))
    assert found
    assert found.step == 3
