"""Time and memory of `raggrid recommend` and `frontier` on a small study and on one of 3.6 million predictions.

    python -m benchmarks.answers             # writes about 200 MB into a temporary folder

The large one: 6 strategies under 2 losses with 3 seeds on 100,000 questions. The selected one, of the same size: one
seed, 3 finalists for each line, no test split, and three questions to a labelled passage, so that questions are
resampled by cluster and the selection is repeated. Scores are drawn; F1 takes a few fractions beside 0 and 1. Retrieved
passages and predictions are filled in, since they must be skipped.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.records import PipelineRecord, PredictionRecord, QuestionRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import StrategyName
from raggrid.store.tables import append, create_run, schema
from raggrid.strategies import STRATEGIES, strategy_loss

STRATEGY_NAMES: tuple[StrategyName, ...] = ("baseline", "embedder", "generator", "independent", "two_phase", "joint")
SEEDS = (0, 1, 2)


def make_run(run: Path, num_questions: int, *, selected: bool = False) -> int:
    """Write a study; the number of prediction rows. ``selected``: picked and reported on the same linked questions."""
    space = SearchSpace.model_validate({
        "name": "large", "data": {"folder": "d"}, "models": {"embedder": "e", "generator": "g"}, "seeds": SEEDS,
        "learning_rates": {"embedder": [1e-5], "generator": [1e-4]}, "strategies": STRATEGY_NAMES,
    })  # fmt: skip
    create_run(run, space, {})
    rng = np.random.default_rng(0)
    easy = rng.random(num_questions)
    rows = 0
    if selected:
        append(run, [
            QuestionRecord(split="validation", question_id=f"question-{number:07d}", question=f"Question {number}?",
                           answers=("yes",), context_ids=(f"p{number // 3}",))
            for number in range(num_questions)
        ])  # fmt: skip
    for row in finalists(num_questions) if selected else pipelines(num_questions):
        right = 0.6 * easy + 0.4 * rng.random(num_questions) < 0.45
        f1 = np.where(right, 1.0, rng.choice([0.0, 0.0, 0.4, 0.5, 2 / 3, 0.8], num_questions))
        append(run, [row])
        rows += write_predictions(run, row, right.astype(float), f1)
    return rows


def pipelines(num_questions: int) -> Iterator[PipelineRecord]:
    """Each strategy under both losses and each seed, on test; the planned ones on validation too."""
    for place, name in enumerate(STRATEGY_NAMES):
        for second, rag_loss in enumerate(("rag_token", "rag_sequence")):
            for seed in SEEDS:
                loss = strategy_loss(name, rag_loss)
                pipeline = f"{name}-{rag_loss}-{seed}"
                for split in ("validation", "test")[1 - (second == 0 or name == "joint") :]:
                    yield PipelineRecord(
                        pipeline_id=pipeline,
                        strategy=name,
                        loss=loss,
                        seed=seed,
                        split=split,
                        embedder_trial_id=f"e{seed}",
                        generator_trial_id=f"g{seed}",
                        embedder_lr=None,
                        generator_lr=None,
                        exact_match=0.5,
                        f1=0.5,
                        recall_at_k=0.9,
                        k=2,
                        num_questions=num_questions,
                        needs_labels=STRATEGIES[name].needs_labels,
                        final_device_seconds=10.0 * place,
                        search_device_seconds=50.0 * place,
                        marginal_device_seconds=5.0,
                    )


def finalists(num_questions: int) -> Iterator[PipelineRecord]:
    """Three pipelines to each line, all of one seed, on validation."""
    for row in pipelines(num_questions):
        if row.split == "test" and row.seed == SEEDS[0]:
            for place in range(3):
                yield replace(row, pipeline_id=f"{row.pipeline_id}-finalist{place}", split="validation")


def write_predictions(run: Path, row: PipelineRecord, right: np.ndarray, f1: np.ndarray) -> int:  # type: ignore[type-arg]
    """All predictions of a pipeline as one file, as a study writes them, without an object each."""
    if row.split == "validation" and "finalist" not in row.pipeline_id:
        return 0
    size = len(right)
    same = {
        key: value for key, value in asdict(row).items() if key in ("pipeline_id", "strategy", "loss", "seed", "split")
    }
    wanted = schema(PredictionRecord)
    columns = {name: pa.array([value] * size, wanted.field(name).type) for name, value in same.items()}
    columns |= {
        "question_id": pa.array([f"question-{number:07d}" for number in range(size)]),
        "prediction": pa.array([f"some answer {number % 997}" for number in range(size)]),
        "exact_match": pa.array(right), "f1": pa.array(f1), "recall_at_k": pa.array(np.ones(size)),
        "retrieved_ids": pa.array([[f"p{number}", f"p{number + 1}"] for number in range(size)]),
        "contains_answer": pa.array(right), "rouge_l": pa.array(f1),
    }  # fmt: skip
    columns |= {f"recall_at_{k}": pa.array(np.ones(size)) for k in (1, 2, 5, 10, 20)}
    columns["custom_scores"] = pa.nulls(size, wanted.field("custom_scores").type)
    folder = run / "predictions"
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.table([columns[name] for name in wanted.names], schema=wanted), folder / f"{row.pipeline_id}.parquet"
    )
    return size


def measure(verb: str, run: Path) -> tuple[float, float]:
    """(wall seconds, MB at the peak) of a command; the peak is the largest of all commands so far."""
    started = time.perf_counter()
    code = f"import sys; sys.argv = ['raggrid', '{verb}', '{run}']; from raggrid.cli import main; main()"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Print one line a measurement."""
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("small", 200), ("large", 100_000), ("selected", 100_000)):
            run = Path(folder) / name
            rows = make_run(run, size, selected=name == "selected")
            for verb in ("recommend", "frontier"):
                seconds, megabytes = measure(verb, run)
                print(f"{name:10} {verb:10} {rows:>9,} predictions  {seconds:5.2f} s  {megabytes:5.0f} MB", flush=True)


if __name__ == "__main__":
    main()
