"""Memory of one trial process over the tasks of a study: at its fullest in each, and between them.

    python -m benchmarks.memory search_spaces/popqa.yaml data.folder=DIR [models.dtype=float32]

One process does them one after the other, as a reused trial does, without Ray: index, the phases with STEPS steps and
an evaluation each, and the answering of QUESTIONS questions. Resident memory as Linux counts it (VmHWM, VmRSS), files
that are mapped included. Takes about three minutes on one core.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from raggrid.worker.process import WORKER_SETTINGS

os.environ |= WORKER_SETTINGS  # as every worker's process, before a library is loaded

import torch

from raggrid.data.checked import checked_inputs
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.records import Report, Status
from raggrid.space.yaml_io import load_space
from raggrid.store.tables import create_run
from raggrid.strategies import PHASES
from raggrid.study.tasks import AnswerTask, Dispatch, IndexTask, PhaseTask, Task
from raggrid.worker.run_task import run_task

STEPS, QUESTIONS, RATE = 3, 32, 1e-5
TRIALS = (
    ("embedder_labels", "mnr", None), ("generator_rag", "rag_token", None),
    ("embedder_rag", "rag_token", "generator_rag-rag_token"), ("joint_rag", "rag_token", None),
    ("joint_rag", "rag_sequence", None), ("closed_book", "closed_book", None),
)  # fmt: skip
MEGABYTE = 10**6


def kilobytes(field: str) -> int:
    """A line of /proc/self/status, in units of 1,024 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def told(what: str, task: Task, run: Path) -> None:
    """Do a task and print what it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    reports: list[Report] = []
    began = time.process_time()
    run_task(Dispatch(task=task, run_dir=str(run)), Worker(report=reports.append))
    seconds, last = time.process_time() - began, reports[-1]
    assert last.status == Status.COMPLETED, last.error
    peak, after, mapped = (kilobytes(field) * 1024 / MEGABYTE for field in ("VmHWM", "VmRSS", "RssFile"))
    print(f"{what:26}  {peak:8.0f}  {after:8.0f}  {mapped:14.0f}  {seconds:8.1f}", flush=True)


def main() -> None:
    """Measure every kind of task on one space."""
    given = load_space(Path(sys.argv[1]), [*sys.argv[2:], f"data.limits.validation={QUESTIONS}"])
    space, _ = checked_inputs(given)
    torch.set_num_threads(space.resources.cpus_per_worker)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        create_run(run, space, {})
        print("task                        peak MB  after MB  of these mapped  CPU s")
        print(f"{'imports':26}  {'':8}  {kilobytes('VmRSS') * 1024 / MEGABYTE:8.0f}", flush=True)
        told("index", IndexTask(), run)
        for phase, loss, upstream in TRIALS:
            about, key = PHASES[phase], f"{phase}-{loss}"
            rates = (RATE if about.trains_embedder else None, RATE if about.trains_generator else None)
            told(key, PhaseTask(key, phase, PhaseRun(phase, loss, 0, *rates, STEPS, upstream)), run)
        tuned = ("joint_rag-rag_token", "joint_rag-rag_token")
        told("answering, un-tuned", AnswerTask("a", "a", "baseline", None, 0, "validation", None, None), run)
        told("answering, tuned", AnswerTask("b", "b", "joint", "rag_token", 0, "validation", *tuned), run)


if __name__ == "__main__":
    main()
