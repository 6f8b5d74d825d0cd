"""What a study takes beside training and evaluating, and where it goes.

    python -m benchmarks.overhead                    # 30 trials of tiny models, some seconds each
    python -m benchmarks.overhead --real             # 30 trials of SmolLM2-135M: about ten minutes on two cores

Two-phase with fifteen learning rates a side, nothing stopped early. Overhead is the wall time of the whole search, from
its call to its return, over (training + evaluating device-seconds) / slots; the ledger says what the rest was.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from raggrid.analysis.bill import bill
from raggrid.backend.ray.search import search
from raggrid.demo import make_world, write_world
from raggrid.records import TrialRecord
from raggrid.space.yaml_io import load_space, parse_space
from raggrid.store.tables import read
from tests.tiny import make_tiny_models

SLOTS, RATES = 2, 15
QUICKSTART = Path(__file__).parent.parent / "search_spaces" / "quickstart.yaml"


def tiny(folder: Path, steps: int) -> dict[str, Any]:
    """A space of tiny models whose trials take some seconds."""
    embedder, generator = make_tiny_models(folder / "models", make_world(0, num_entities=120))
    return {
        "models": {"embedder": str(embedder), "generator": str(generator)},
        "prompt": {"passage_tokens": 60, "template": "{context}\n{question}\nA:"},
        "answer": {"top_k": 1, "max_new_tokens": 4},
        "training": {"rag": {"steps": steps, "batch_size": 4}, "generator": "full", "validation_questions": 12},
    }


def real(_: Path, steps: int) -> dict[str, Any]:
    """The quickstart's models and settings."""
    given = load_space(QUICKSTART).model_dump(mode="json")
    training = {**given["training"], "rag": {"steps": steps, "batch_size": 4}}
    return {**{name: given[name] for name in ("models", "prompt", "answer", "retrieval")}, "training": training}


def main() -> None:
    """Run one study and print its bill beside its wall time."""
    parser = argparse.ArgumentParser(description="What a study takes beside training and evaluating.")
    parser.add_argument("--real", action="store_true", help="SmolLM2-135M instead of tiny models.")
    parser.add_argument("--steps", type=int, help="Training steps a trial.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_world(make_world(0, num_entities=120), folder / "world")
        sections = real(folder, options.steps or 6) if options.real else tiny(folder, options.steps or 300)
        rates = [round(10 ** (-4 + place / RATES), 7) for place in range(RATES)]
        space = parse_space(
            {
                "name": "overhead",
                "data": {"folder": str(folder / "world"), "limits": {"train": 80, "validation": 12, "test": 8}},
                "strategies": ["two_phase"],
                "learning_rates": {"embedder": rates, "generator": rates},
                "early_stopping": {"enabled": False},
                "resources": {"max_concurrent_trials": SLOTS},
                **sections,
            }
        )
        began = time.monotonic()
        search(space, folder / "run")
        wall = time.monotonic() - began
        result, trials = bill(folder / "run"), read(folder / "run", TrialRecord)
    pure = (result.device_seconds["train"] + result.device_seconds["evaluate"]) / SLOTS
    print(f"{len(trials)} trials, wall {wall:.1f} s, pure {pure:.1f} s, overhead {wall / pure:.3f}")
    print("  ".join(f"{name} {seconds / SLOTS:.1f}" for name, seconds in result.device_seconds.items()), "(s a slot)")
    print(f"before and after the allocation (imports, starting and ending Ray): {wall - result.total / SLOTS:.1f} s")


if __name__ == "__main__":
    main()
