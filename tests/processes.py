"""A search in a process of its own, watched, killed and waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.tables import read

RAGGRID = Path(sys.executable).parent / "raggrid"
PATIENCE_SECONDS = 240.0


def command(space: SearchSpace, run: Path, *more: str) -> list[str | Path]:
    """The search as a user types it; the space goes into a file beside the run directory."""
    file = run.parent / f"{run.name}.yaml"
    file.write_text(dump_space(space))
    return [RAGGRID, "search", file, "--run", run, *more]


def raggrid(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a terminal of 80 columns, until it ends."""
    return subprocess.run(
        [RAGGRID, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd,
        env={**os.environ, "COLUMNS": "80"}, timeout=2 * PATIENCE_SECONDS,
    )  # fmt: skip


def start(words: list[str | Path]) -> subprocess.Popen[str]:
    """A search in a session of its own, so that all its processes can be found."""
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(words: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """A search until it ends by itself."""
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_SECONDS)


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Raises AssertionError when it does not happen in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def trainers(session: int) -> list[int]:
    """Processes of a session that train or answer at this moment."""
    lines = subprocess.run(["ps", "-s", str(session), "-o", "pid=,args="], capture_output=True, text=True, check=False)
    rows = [line.split(None, 1) for line in lines.stdout.splitlines()]
    busy = ("ray::ImplicitFunc.train", "ray::RayTrainWorker")
    return [int(row[0]) for row in rows if len(row) == 2 and row[1].startswith(busy)]


def kill(pid: int) -> None:
    """SIGKILL; a process that has ended meanwhile is none."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_driver(search: subprocess.Popen[str]) -> None:
    """SIGKILL of the search itself; its workers are left to Ray."""
    search.kill()
    search.communicate()


def kill_machine(search: subprocess.Popen[str]) -> None:
    """SIGKILL of the search and of all that it has started, Ray included, as when its machine goes."""

    def ended() -> bool:
        pids = session_of(search.pid).split()
        for pid in pids:
            kill(int(pid))
        return not pids

    search.kill()
    search.wait()
    wait_until(ended, "all processes have ended")
    search.communicate()


def session_of(session: int) -> str:
    """The processes of a session, one per line."""
    return subprocess.run(["pgrep", "-s", str(session)], capture_output=True, text=True, check=False).stdout


def lingering(session: int) -> str:
    """Processes of a session that are still there after a while: Ray's agents outlive a killed driver by a minute."""
    left = ""
    for _ in range(200):
        left = session_of(session)
        if not left:
            break
        time.sleep(0.5)
    return left


def trials(run: Path) -> dict[str, TrialRecord]:
    """The trials of a run directory by id."""
    return {row.trial_id: row for row in read(run, TrialRecord)}


def curves(run: Path) -> dict[tuple[str, int], tuple[float, float | None]]:
    """(objective, train loss) by trial and step."""
    return {(row.trial_id, row.step): (row.objective, row.train_loss) for row in read(run, CurveRecord)}


def results(run: Path) -> set[tuple[object, ...]]:
    """All that a study found, cost aside."""
    rows = [(row.trial_id, row.status, row.steps, row.objective, row.error) for row in trials(run).values()]
    answers = [(r.pipeline_id, r.split, r.exact_match, r.f1, r.recall_at_k) for r in read(run, PipelineRecord)]
    return {*rows, *answers, *curves(run).items()}


def charged(run: Path, category: str) -> float:
    """Device-seconds of a category."""
    return sum(row.device_seconds for row in read(run, LedgerRecord) if row.category == category)
