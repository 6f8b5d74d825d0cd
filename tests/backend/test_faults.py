"""Faults, done for real: killed workers and drivers, a full disk, Ctrl-C, a second search."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from raggrid.backend.ray.search import search
from raggrid.records import LedgerRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.progress import saved_progress
from raggrid.store.sessions import open_session
from raggrid.store.tables import read
from raggrid.study.tasks import PhaseTask, running_from
from tests.conftest import SpaceMaker
from tests.processes import (
    charged,
    command,
    curves,
    finish,
    kill,
    kill_driver,
    lingering,
    results,
    start,
    trainers,
    trials,
    wait_until,
)

pytestmark = pytest.mark.slow
KILLED: list[int] = []  # sessions whose driver was killed; Ray's agents outlive it by a minute


@pytest.fixture(scope="module")
def steady(make_space: SpaceMaker) -> SearchSpace:
    """A study of some seconds a trial, with a checkpoint every few, that repeats exactly."""
    return make_space(
        strategies=["two_phase"],
        training={"rag": {"steps": 1000, "batch_size": 2}},
        early_stopping={"min_fraction": 0.1, "reduction_factor": 2, "rungs": "synchronous"},
        resources={"max_concurrent_trials": 1},
    )


@pytest.fixture(scope="module")
def undisturbed(steady: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "r"
    search(steady, run)
    return run


def training(run: Path) -> bool:
    """A trial is past its first checkpoint."""
    return any((run / "checkpoints").glob("*/state/*")) and any((run / "curves").glob("*.parquet"))


def caught_in_training(run: Path, session: int) -> list[int]:
    """The processes that train, stopped while a trial goes on from its checkpoint; the driver has read all of it."""
    for _ in range(100):
        pids, stopped_at = trainers(session), time.time()
        send(pids, signal.SIGSTOP)
        wait_until(lambda at=stopped_at: (now := open_session(run)) and now.alive > at + 1.0, "the driver lives")  # type: ignore[misc]
        if pids and trains(run):
            return pids
        send(pids, signal.SIGCONT)
        time.sleep(0.1)
    raise AssertionError("no trial was caught in training")


def trains(run: Path) -> bool:
    """Whether a trial runs whose process has loaded a checkpoint, and neither waits at a rung nor just begins."""
    driver = open_session(run)
    tasks = [found[0] for row in (driver.running if driver else ()) if (found := running_from(row))]
    states = [saved_progress(run, task.key) for task in tasks if isinstance(task, PhaseTask)]
    return any(found.step > 0 and not found.paused for found in states if found)


def send(pids: Sequence[int], what: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def test_a_killed_worker_goes_on_from_its_checkpoint(tmp_path: Path, steady: SearchSpace, undisturbed: Path) -> None:
    search = start(command(steady, tmp_path / "r"))
    wait_until(lambda: training(tmp_path / "r"), "a trial trains")
    send(caught_in_training(tmp_path / "r", search.pid), signal.SIGKILL)
    _, told = search.communicate(timeout=240)
    assert search.returncode == 0, told
    assert not lingering(search.pid)
    assert results(tmp_path / "r") == results(undisturbed)
    struck = [row for row in trials(tmp_path / "r").values() if row.attempts > 1]
    assert len(struck) == 1
    assert 0 < struck[0].lost_device_seconds == pytest.approx(charged(tmp_path / "r", "lost"))
    assert charged(undisturbed, "lost") == 0


def test_a_killed_worker_of_a_group_goes_on_too(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space(
        strategies=["generator"],
        learning_rates={"generator": [3e-3]},
        training={"rag": {"steps": 400, "batch_size": 2}},
        early_stopping={"min_fraction": 0.1, "reduction_factor": 2},
        resources={"workers": 1, "max_concurrent_trials": 1},
    )
    search = start(command(space, tmp_path / "r"))
    wait_until(lambda: training(tmp_path / "r"), "a trial trains")
    for pid in trainers(search.pid):
        kill(pid)
    _, told = search.communicate(timeout=300)
    assert search.returncode == 0, told
    assert not lingering(search.pid)
    row = next(iter(trials(tmp_path / "r").values()))
    assert (row.status, row.attempts) == ("completed", 2)
    assert row.lost_device_seconds > 0


def test_a_killed_driver_leaves_what_the_next_one_needs(tmp_path: Path, steady: SearchSpace, undisturbed: Path) -> None:
    run, words = tmp_path / "r", command(steady, tmp_path / "r")
    began = time.time()
    for machine in (False, True):  # workers train on for some two seconds, unless their machine is gone as well
        search = start(words)
        known = len(curves(run))
        wait_until(lambda n=known: len(curves(run)) > n, "a trial comes to a rung")  # type: ignore[misc]
        stopped = caught_in_training(run, search.pid) if machine else []
        kill_driver(search)
        send(stopped, signal.SIGKILL)
        KILLED.append(search.pid)
        wait_until(lambda search=search: not trainers(search.pid), "the killed study's workers end")  # type: ignore[misc]
        time.sleep(1.5)  # nobody holds a device now, and nobody is charged
    done = finish(words)
    assert done.returncode == 0, done.stderr
    assert results(run) == results(undisturbed)
    total = sum(row.device_seconds for row in read(run, LedgerRecord))
    assert charged(run, "lost") > 0
    assert total <= time.time() - began - 2 * 1.5


def test_ctrl_c_twice_ends_at_once(tmp_path: Path, steady: SearchSpace) -> None:
    search = start(command(steady, tmp_path / "r"))
    wait_until(lambda: training(tmp_path / "r") and trainers(search.pid), "a trial trains")
    search.send_signal(signal.SIGINT)
    time.sleep(0.1)
    search.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, told = search.communicate(timeout=60)
    assert search.returncode == 130, told
    assert time.monotonic() - began < 45
    assert "Traceback" not in told
    assert "The same command continues" in told
    assert not lingering(search.pid)


def test_a_second_search_on_a_directory_is_refused(tmp_path: Path, steady: SearchSpace) -> None:
    words = command(steady, tmp_path / "r")
    search = start(words)
    wait_until(lambda: training(tmp_path / "r"), "a trial trains")
    second = finish(words)
    assert second.returncode == 2
    assert "another search is writing here" in second.stderr
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=60)
    assert not lingering(search.pid)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes, which the test fills up."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(file: Path) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
def test_a_full_disk_stops_the_study_clearly_and_more_room_continues_it(
    tmp_path: Path, steady: SearchSpace, undisturbed: Path
) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        words = command(steady, disk / "r")
        ballast = disk / "ballast"
        search = start(words)
        wait_until(lambda: training(disk / "r"), "a trial trains")
        fill(ballast)
        _, told = search.communicate(timeout=240)
        assert search.returncode == 1, told
        assert "nothing more can be written" in told
        assert "Free some space; the same command continues." in told
        assert not lingering(search.pid)
        before = trials(disk / "r")  # readable
        assert all(row.status != "failed" for row in before.values())
        ballast.unlink()
        done = finish(words)
        assert done.returncode == 0, done.stderr
        assert results(disk / "r") == results(undisturbed)


def test_nothing_is_left_of_studies_whose_driver_was_killed() -> None:
    """Last, so that it need not wait."""
    assert not any(map(lingering, KILLED))
