"""How many questions per pass fit a device: tried before the first step, kept for the others, and no number changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from raggrid.finetune import micro_batch
from raggrid.finetune.micro_batch import Fit, most_foreseen, most_that_fit
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.generator import Generator
from raggrid.records import Report, Status
from raggrid.store.files import files_at
from raggrid.store.kept import read_micro_batches
from raggrid.worker.build import train_task
from tests.conftest import SpaceMaker
from tests.trials import curve, done, phase_task, prepared_run, trainer_for
from tests.two_workers import TwoWorkers

BASE, EACH = 100.0, 10.0  # bytes of the models, and of each question


@pytest.mark.parametrize("usable", [90, 109, 110, 119, 120, 135, 180, 1000])
@pytest.mark.parametrize("at_most", [2, 3, 8])
def test_the_most_that_fit_are_found_without_running_out_of_memory(at_most: int, usable: float) -> None:
    tried: list[int] = []

    def peak(size: int) -> float:
        tried.append(size)
        return BASE + EACH * size

    found = most_that_fit(at_most, usable, BASE, peak)
    expected = max([1, *(size for size in range(1, at_most + 1) if BASE + EACH * size <= usable)])
    assert found == Fit(expected, BASE + EACH * expected)
    assert tried == list(dict.fromkeys([1, expected]))


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8])
def test_half_is_tried_where_more_questions_take_more_than_the_first(room: int) -> None:
    """Of no size is it known beforehand that memory runs out: the first question seemed to take nothing."""
    found = most_that_fit(8, 1000.0, BASE, lambda size: BASE + 1e-3 if size <= room else None)
    assert found is not None
    assert found.size == max(size for size in (8, 4, 2, 1) if size <= room)
    assert most_that_fit(8, 1000.0, BASE, lambda _: None) is None


@pytest.mark.parametrize("usable", [90, 110, 122, 123, 148, 180, 1000])
@pytest.mark.parametrize("at_most", [2, 3, 8])
def test_what_is_foreseen_never_takes_more_than_there_is(at_most: int, usable: float) -> None:
    tried: list[int] = []

    def peak(size: int) -> float:
        tried.append(size)
        return BASE + EACH * size

    found = most_foreseen(at_most, usable, BASE, peak)
    assert found == Fit(tried[-1], BASE + EACH * tried[-1])
    assert found.size == 1 or found.peak_bytes <= usable
    assert all(later <= 2 * size for size, later in itertools.pairwise(tried))
    # What is left is less than a question with its margin.
    assert found.size == at_most or usable - found.peak_bytes < 1.25 * EACH


def test_what_is_foreseen_stops_where_more_questions_take_more_than_the_first() -> None:
    def peak(size: int) -> float:
        return BASE + size**2

    assert most_foreseen(64, BASE + 80, BASE, peak).size == 8
    assert most_foreseen(64, BASE + 15, BASE, peak) == Fit(2, BASE + 4)


@dataclass
class MadeMemory:
    """A device that a pass of more than ``room`` questions is too much for; each takes `EACH`."""

    room: int
    usable: float
    device_type: str = "made up"
    lately: list[int] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)

    def taken(self) -> float:
        return BASE

    def most_during(self, work: Callable[[], object], *, catches: bool) -> float | None:
        self.lately.clear()
        try:
            work()
        except torch.OutOfMemoryError:
            assert catches
            return None
        self.tried.append(max(self.lately))
        return BASE + EACH * max(self.lately)


def put_on(monkeypatch: pytest.MonkeyPatch, room: int, usable: float) -> MadeMemory:
    """Let all trials of this process run on a made-up device."""
    memory, score = MadeMemory(room, usable), Generator.score

    def counted(self: Generator, prompts: list[str], answers: list[str], **more: Any) -> Any:
        questions = len(prompts) // 2  # two passages each
        if torch.is_grad_enabled() and questions > memory.room:
            raise torch.OutOfMemoryError("made up")
        memory.lately.append(questions)
        return score(self, prompts, answers, **more)

    monkeypatch.setattr(Generator, "score", counted)
    monkeypatch.setattr(micro_batch, "memory_of", lambda device, share: memory)
    return memory


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], MadeMemory]:
    """Lets all trials of a test run on a made-up device."""
    return lambda room, usable: put_on(monkeypatch, room, usable)


def eights(make_space: SpaceMaker, **rag: object) -> Any:
    return make_space(training={"rag": {"steps": 6, "batch_size": 8, **rag}})


@pytest.mark.parametrize("phase", ["generator_rag", "joint_rag"])
def test_a_trial_takes_what_fits_and_finds_what_the_whole_batch_does(
    phase: str, make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory]
) -> None:
    run = prepared_run(tmp_path / "r", eights(make_space, micro_batch_size=8))
    done(phase_task(phase), run)
    small, memory = prepared_run(tmp_path / "s", eights(make_space)), device(3, BASE + 3.5 * EACH)
    reports = done(phase_task(phase), small)
    assert reports[-1].status == Status.COMPLETED
    assert memory.tried == [1, 3]
    assert max(memory.lately) == 3
    for given, expected in zip(curve(small, "t"), curve(run, "t"), strict=True):
        assert given == pytest.approx(expected, rel=1e-5)
    (row,) = read_micro_batches(small)
    assert (row["phase"], row["device_type"], row["questions"]) == (phase, "made up", 8)
    assert (row["micro_batch_size"], row["peak_bytes"]) == (3, BASE + 3 * EACH)


def test_what_is_tried_leaves_no_trace(
    make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory]
) -> None:
    given, left = [tmp_path / name for name in ("given", "left")], []
    for folder, rag in zip(given, ({"micro_batch_size": 4}, {}), strict=True):
        run = prepared_run(folder, eights(make_space, **rag))
        device(4, BASE + 4 * EACH)
        left.append(curve(run, "t") if done(phase_task("joint_rag"), run) else [])
    assert left[0] == left[1] != []


def test_later_trials_take_what_the_first_one_found_and_other_devices_are_tried_again(
    make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory]
) -> None:
    run, memory = prepared_run(tmp_path / "r", eights(make_space)), device(8, BASE + 2 * EACH)
    for key, phase, tried in (("a", "generator_rag", [1, 2]), ("b", "generator_rag", []), ("c", "joint_rag", [1, 2])):
        memory.tried.clear()
        trainer = trainer_for(run, phase_task(phase, key=key))
        assert trainer.task.space.training.rag.micro_batch_size == 2
        assert memory.tried == tried
        assert all(p.grad is None for p in trainer.trained.values())
        assert not trainer.optimizer.state
    memory.device_type, memory.usable = "a larger one", BASE + 8 * EACH
    assert trainer_for(run, phase_task("joint_rag")).task.space.training.rag.micro_batch_size == 8
    assert len(read_micro_batches(run)) == 3


@pytest.mark.parametrize("phase", ["embedder_labels", "embedder_rag"])
def test_nothing_is_tried_where_the_generator_is_frozen(
    phase: str, make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory]
) -> None:
    run, memory = prepared_run(tmp_path / "r", eights(make_space)), device(8, BASE)
    trainer_for(run, phase_task(phase))
    assert memory.tried == []


def test_a_device_too_small_for_one_question_is_told_before_the_first_step(
    make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory]
) -> None:
    run = prepared_run(tmp_path / "r", eights(make_space))
    device(0, BASE)
    reports: list[Report] = done(phase_task("joint_rag"), run)
    assert (reports[-1].status, reports[-1].step) == (Status.FAILED, 0)
    assert reports[-1].error is not None
    assert "joint_rag: one question with 2 passages does not fit the device." in reports[-1].error
    assert reports[-1].error.startswith("Out of device memory.")


def test_workers_agree_on_what_fits_all_of_them(
    make_space: SpaceMaker, tmp_path: Path, device: Callable[[int, float], MadeMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker, as this one sees it, holds twice as much in every pass."""
    run, memory = prepared_run(tmp_path / "r", eights(make_space)), device(8, BASE + 5 * EACH)
    subject = trainer_for(run, phase_task("generator_rag"))
    assert subject.task.space.training.rag.micro_batch_size == 5
    worker = subject.worker

    def doubled(_: object, value: Any) -> list[Any]:
        return [value, BASE + 2 * (value - BASE)] if isinstance(value, float) else [value, value]

    monkeypatch.setattr(type(worker), "gather", doubled)
    memory.device_type = "another"
    assert trainer_for(run, phase_task("generator_rag")).task.space.training.rag.micro_batch_size == 2


# Two processes


def found_on(rank: int, run: str, rooms: Sequence[int], usable: Sequence[float]) -> tuple[int, list[int]]:
    """Questions per pass that a worker takes, and what it has tried, on a device of its own."""
    worker, files = Worker(report=lambda _: None, rank=rank, world_size=2), files_at(run)
    with pytest.MonkeyPatch.context() as patched:
        memory = put_on(patched, rooms[rank], usable[rank])
        trainer = Trainer(train_task(files, phase_task("generator_rag"), worker), worker)
        trainer.step(0)
    return trainer.task.space.training.rag.micro_batch_size or 0, memory.tried


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "rooms", "usable", "expected"),
    [
        # Memory runs out on one of them with eight and with four; and on the other it never does.
        ("none", (8, 3), (BASE + 8 * EACH, BASE + 8 * EACH), (2, [1, 8, 4, 2], [1, 2])),
        ("fsdp", (8, 3), (BASE + 8 * EACH, BASE + 3.5 * EACH), (3, [1, 2, 3], [1, 2, 3])),
    ],
)
def test_a_device_that_is_too_small_for_a_worker_is_heeded_by_all(
    tmp_path: Path,
    make_space: SpaceMaker,
    pair: TwoWorkers,
    sharding: str,
    rooms: tuple[int, int],
    usable: tuple[float, float],
    expected: tuple[int, list[int], list[int]],
) -> None:
    rag = {"steps": 6, "batch_size": 16}
    space = make_space(training={"sharding": sharding, "rag": rag}, resources={"workers": 2})
    run = prepared_run(tmp_path / "r", space)
    size, *tried = expected
    assert pair.do(found_on, str(run), rooms, usable) == [(size, each) for each in tried]
    (row,) = read_micro_batches(run)
    assert (row["micro_batch_size"], row["questions"]) == (size, 8)
