"""What a training step of each phase costs on this machine, and how the phases compare.

    python -m benchmarks.steps search_spaces/quickstart.yaml

Prints the median and the range of CPU seconds a step, and the ratio to generator_rag in the same run. The first step is
left out: it carries the audit. Needs the data and the models of the space; trains nothing that is kept.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from raggrid.data.checked import checked_inputs
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.space.yaml_io import load_space
from raggrid.store.files import files_at
from raggrid.store.tables import create_run
from raggrid.strategies import PHASES
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask
from raggrid.worker.build import train_task
from raggrid.worker.run_task import run_task

STEPS = 6


def seconds_a_step(run: Path, phase: str) -> list[float]:
    """CPU seconds of each step after the first."""
    about = PHASES[phase]
    embedder_lr, generator_lr = (1e-5 if trains else None for trains in (about.trains_embedder, about.trains_generator))
    loss = "mnr" if about.needs_labels else "rag_token"
    task = PhaseTask(phase, phase, PhaseRun(phase, loss, 0, embedder_lr, generator_lr, STEPS))
    worker = Worker(report=lambda _: None)
    trainer = Trainer(train_task(files_at(run), task, worker), worker)
    seconds = []
    for step in range(STEPS):
        started = time.process_time()
        trainer.step(step)
        seconds.append(time.process_time() - started)
    return seconds[1:]


def main() -> None:
    """Measure every phase on one space."""
    space, _ = checked_inputs(load_space(Path(sys.argv[1]), sys.argv[2:]))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        create_run(run, space, {})
        run_task(Dispatch(task=IndexTask(), run_dir=str(run)), Worker(report=lambda _: None))
        measured = {phase: seconds_a_step(run, phase) for phase in PHASES}
    base = statistics.median(measured["generator_rag"])
    for phase, seconds in measured.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{phase:16} {median:6.2f} CPU s a step ({spread})  {median / base:5.2f} x generator_rag")


if __name__ == "__main__":
    main()
