"""Loss per step and the objective of every phase on the tiny models: numbers that a change of code must not move.

    python -m tests.golden

records them anew in tests/assets/golden.json. Do so only in a change that says why they move, beside the proof of value
that CONTRIBUTING.md asks for.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.conftest import tiny_space  # isort: skip  (one thread, no model hub: before torch is imported)

import torch

from raggrid.demo import make_world, write_world
from tests.tiny import make_tiny_models
from tests.trials import phase_task, prepared_run, trainer_for

FILE = Path(__file__).parent / "assets" / "golden.json"
STEPS = 6
PHASES = (
    ("embedder_labels", "mnr"), ("generator_rag", "rag_token"), ("generator_rag", "rag_sequence"),
    ("embedder_rag", "rag_token"), ("joint_rag", "rag_token"), ("joint_rag", "rag_sequence"),
    ("closed_book", "closed_book"),
)  # fmt: skip


def golden(folder: Path) -> dict[str, dict[str, object]]:
    """By ``generator tuning/phase/loss``: the loss of each training step, and what the evaluation after them measured.

    ``folder`` takes the world, the models and the run directories.
    """
    torch.set_num_threads(1)
    world = make_world(0, num_entities=120)
    write_world(world, folder / "world")
    models = make_tiny_models(folder / "tiny", world)
    found: dict[str, dict[str, object]] = {}
    for tuning in ("full", "lora"):
        space = tiny_space(folder / "world", models, training={"generator": tuning})
        run = prepared_run(folder / f"run-{tuning}", space)
        for phase, loss in PHASES:
            trainer = trainer_for(run, phase_task(phase, loss=loss, key=f"{phase}-{loss}"))
            losses = [trainer.step(step).loss for step in range(STEPS)]
            trainer.measure()
            after = {"objective": trainer.progress.objective, "recall_at_k": trainer.progress.recall_at_k}
            found[f"{tuning}/{phase}/{loss}"] = {"train_loss": losses, **after}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        FILE.write_text(json.dumps(golden(Path(scratch)), indent=1) + "\n")
    print(f"Written: {FILE}")
