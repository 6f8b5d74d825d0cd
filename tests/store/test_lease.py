"""Holding a run directory: one search at a time, whatever died, slept or runs elsewhere, on any file system."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from raggrid.errors import RecordError
from raggrid.store import lease as leases
from raggrid.store.fence import Fenced
from raggrid.store.files import Files, files_at, read_bytes
from raggrid.store.lease import FOLDER, WORKERS, Lease, claimed, enrol_worker, this_process
from raggrid.store.local import LocalFiles
from raggrid.store.storage import LeaseLost
from tests.background import meanwhile
from tests.store.files_contract import FilesContract
from tests.store.memory_files import MemoryFiles

ELSEWHERE = replace(this_process(), host="node-2", machine="another", pid=7)
HOLDER = """
import sys, time
from raggrid.store.files import files_at
from raggrid.store.lease import claimed, enrol_worker
files = files_at(sys.argv[1])
with claimed(files):
    enrol_worker(files)
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(params=["disk", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(leases, "renewal_seconds", lambda _: 0.05)
    return LocalFiles(tmp_path / "r") if request.param == "disk" else MemoryFiles()


def put(files: Files, lease: Lease) -> None:
    files.write(lease.file, json.dumps(asdict(lease)).encode())


def live(files: Files) -> list[str]:
    return [name for name in files.names(FOLDER) if name.endswith(".json")]


@contextlib.contextmanager
def renewed(files: Files, lease: Lease) -> Iterator[threading.Event]:
    """A lease whose owner lives on another machine."""
    over = threading.Event()

    def renew() -> None:
        count = 0
        while not over.wait(0.02):
            count += 1
            put(files, replace(lease, renewed=count))

    put(files, lease)
    with meanwhile(renew, over):
        yield over


def test_it_is_held_by_one_and_free_afterwards(files: Files) -> None:
    for _ in range(2):
        with claimed(files):
            assert len(live(files)) == 1
            with (
                pytest.raises(RecordError, match=r"another search is writing here: process \d+ on .+\. Wait"),
                claimed(files),
            ):
                pass
        assert live(files) == []


def test_of_those_who_come_at_once_at_most_one_gets_it(files: Files) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            came = list(pool.map(hold, [files] * 4, [threading.Barrier(4)] * 4))
        assert sum(came) == 1


def hold(files: Files, start: threading.Barrier) -> bool:
    """Whether a search that comes together with others gets it, and is alone then."""
    start.wait()
    try:
        with claimed(files) as own:
            time.sleep(0.2)
            held = [name for name in live(files) if json.loads(read_bytes(files, f"{FOLDER}/{name}"))["held"]]
            assert held == [f"{own.name}.json"]
            return True
    except RecordError:
        return False


def test_one_of_another_machine_that_is_renewed_holds_it(files: Files) -> None:
    said: list[str] = []
    held = Lease(name="0", owner=ELSEWHERE, held=True)
    with renewed(files, held), pytest.raises(RecordError, match="process 7 on node-2"), claimed(files, said.append):
        pass
    assert "held by process 7 on node-2. Watching" in said[0]
    assert live(files) == ["0.json"]


def test_one_of_another_machine_that_is_not_renewed_is_over(files: Files) -> None:
    put(files, Lease(name="0", owner=ELSEWHERE, renewed=3, held=True))
    with claimed(files):
        assert "0.json" not in live(files)


def test_a_later_one_that_asks_is_waited_for_and_gets_it_if_it_did_not_see_this_one(files: Files) -> None:
    later = Lease(name="9" * 20, owner=ELSEWHERE)
    with renewed(files, later) as over:
        threading.Timer(0.3, over.set).start()  # ends without holding it
        with claimed(files):
            assert "9" * 20 + ".json" not in live(files)
    put(files, replace(later, name="8" * 20))
    threading.Timer(0.1, put, (files, replace(later, name="8" * 20, renewed=1, held=True))).start()
    with pytest.raises(RecordError, match="node-2"), claimed(files):
        pass


def test_damaged_leases_are_nobodys(files: Files) -> None:
    files.write(f"{FOLDER}/0.json", b"")
    files.write(f"{FOLDER}/1.json", b"{}")
    with claimed(files):
        pass


def test_who_slept_through_its_end_changes_nothing_any_more(files: Files) -> None:
    with claimed(files) as slept:
        own = Fenced(files, slept.name)
        own.write("a", b"before")
        leases._end(files, slept)
        assert own.exists("a")
        changes: list[Callable[[], object]] = [
            lambda: own.write("a", b"after"), lambda: own.delete("a"), lambda: write_path(own, "a"),
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(LeaseLost, match="another search holds it by now"):
                change()
        time.sleep(0.2)  # renewed again, without effect
        with claimed(files):
            pass
    with files.reading("a") as path:
        assert path.read_bytes() == b"before"


def write_path(files: Files, name: str) -> None:
    with files.writing(name) as path:
        path.write_bytes(b"after")


def test_a_killed_search_and_its_workers_are_waited_for_no_longer_than_they_live(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "r")]
    files = files_at(tmp_path / "r")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout
        assert search.stdout.readline() == "held\n"
        with pytest.raises(RecordError, match=f"process {search.pid} on"), claimed(files):
            pass
        search.kill()
        search.wait()
        with claimed(files):
            assert files.names(WORKERS) == []


def test_workers_that_do_not_end_are_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "WORKER_SECONDS", 0.1)
    leases._enrolled.clear()
    enrol_worker(files)
    with (
        pytest.raises(RecordError, match=f"process {this_process().pid} of an earlier search still works here"),
        claimed(files),
    ):
        pass


def test_workers_of_other_machines_are_left_to_the_fence(files: Files) -> None:
    files.write(f"{WORKERS}/a.json", json.dumps(asdict(ELSEWHERE)).encode())
    with claimed(files):
        assert files.names(WORKERS) == []


def test_a_process_number_that_is_used_again_is_another_process() -> None:
    assert not this_process().is_gone()
    assert replace(this_process(), started=1.0).is_gone()
    assert replace(this_process(), pid=2**22 + 1).is_gone()
    assert not ELSEWHERE.is_gone()


class TestFenced(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return Fenced(LocalFiles(tmp_path / "new"), "held")
