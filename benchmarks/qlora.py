"""QLoRA against LoRA over 16-bit weights: scores over three seeds, weights in memory, seconds.

    python -m benchmarks.qlora search_spaces/popqa.yaml data.folder=DIR

Further words are settings, as with --set. The generator is tuned through the RAG loss at `RATE` and answers the
validation questions from its passages. About 25 minutes on one CPU core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from raggrid.evaluation.metrics import exact_match, f1
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.rag.generator import Generator
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.yaml_io import load_space
from raggrid.store.files import files_at
from raggrid.store.tables import create_run
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask
from raggrid.worker.build import train_task
from raggrid.worker.run_task import run_task

RATE, SEEDS = 1e-3, (0, 1, 2)
QUIET = Worker(report=lambda _: None)


def main(path: Path, settings: Sequence[str]) -> None:
    print("weights  seed    EM    F1  objective  weights MB  train CPU s  answer CPU s")
    scores: dict[str, list[float]] = {}
    for kind in ("none", "nf4"):
        space = load_space(path, [*settings, f"models.quantization={kind}", "models.dtype=bfloat16"])
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "r"
            create_run(run, space, {})
            run_task(Dispatch(task=IndexTask(), run_dir=str(run)), QUIET)
            for seed in SEEDS:
                key = f"{kind}-{seed}"
                about = PhaseRun("generator_rag", space.losses.phases, seed, None, RATE, space.training.rag.steps)
                trainer = Trainer(train_task(files_at(run), PhaseTask(key, key, about), QUIET), QUIET)
                scores.setdefault(kind, []).append(report(trainer, kind, seed))
    means = {kind: fmean(values) for kind, values in scores.items()}
    print(f"F1, mean over seeds: {means['none']:.1f} in 16 bits, {means['nf4']:.1f} in 4 bits")


def report(trainer: Trainer, kind: str, seed: int) -> float:
    """Train, answer, print a row; F1 in percent."""
    began = time.process_time()
    trainer.train()
    trained = time.process_time()
    task = trainer.task
    texts = answers(task.pipeline, task.validation, task.space.answer_top_k, task.space.answer.max_new_tokens)
    answered = time.process_time()
    rows = list(zip(texts, task.validation, strict=True))
    em, score = (100 * fmean(metric(text, q.answers) for text, q in rows) for metric in (exact_match, f1))
    size = weights_bytes(task.pipeline.required_generator) / 1e6
    print(
        f"{'nf4' if kind == 'nf4' else '16 bits':7}  {seed:4}  {em:4.1f}  {score:4.1f}  "
        f"{trainer.progress.objective or float('nan'):9.4f}  {size:10.1f}  {trained - began:11.1f}  "
        f"{answered - trained:12.1f}",
        flush=True,
    )
    return score


def answers(pipeline: Pipeline, questions: Sequence[Question], k: int, max_new_tokens: int) -> list[str]:
    texts = [question.question for question in questions]
    found = pipeline.retrieve(texts, k)
    return pipeline.answer(texts, found.tolist(), max_new_tokens=max_new_tokens, batch_size=16)


def weights_bytes(generator: Generator) -> int:
    """Of the frozen weights, quantization constants included."""
    total = 0
    for name, parameter in generator.model.named_parameters():
        if "lora_" in name:
            continue
        total += parameter.numel() * parameter.element_size()
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            total += state.absmax.numel() * state.absmax.element_size()
            total += state.state2.absmax.numel() * state.state2.absmax.element_size()
    return total


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
