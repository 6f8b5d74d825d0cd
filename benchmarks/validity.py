"""What taking models as their makers meant them is worth: prompts, passages, labels, precision, one table each.

    python -m benchmarks.validity answers search_spaces/popqa.yaml data.folder=DIR    # un-tuned, with the gold passage
    python -m benchmarks.validity passages search_spaces/popqa.yaml data.folder=DIR   # cut passages, lost answers
    python -m benchmarks.validity labels search_spaces/hotpotqa.yaml data.folder=DIR  # first gold passage or all
    python -m benchmarks.validity merging search_spaces/popqa.yaml                    # adapters into bfloat16 weights
    python -m benchmarks.validity steps search_spaces/popqa.yaml                      # seconds by dtype and attention

Further words are settings, as with --set. Each takes minutes on two CPU cores; none needs Ray.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from raggrid.data.checked import data_of
from raggrid.data.sampling import sampled
from raggrid.evaluation.metrics import contains_answer, exact_match, f1, recall_at_k
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import CPU, Worker
from raggrid.identity import PhaseRun
from raggrid.rag.adapters import add_lora
from raggrid.rag.generator import Generator
from raggrid.rag.prompt import PromptWriter
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Training
from raggrid.space.yaml_io import load_space
from raggrid.store.files import Files, files_at
from raggrid.store.tables import create_run
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask
from raggrid.worker.build import train_task
from raggrid.worker.run_task import run_task

QUESTIONS = 96  # validation questions that are answered
LENGTHS = (64, 96, 128, 256)
SEEDS, RATES, FOLDS = (0, 1, 2), (1e-5, 3e-5, 1e-4), 5
UPDATES = ((1e-6, 1000), (1e-5, 240), (1e-4, 24))  # (learning rate, steps): AdamW moves a weight by about their product
QUIET = Worker(report=lambda _: None)


def answers(path: Path, settings: list[str]) -> None:
    """The un-tuned generator on its gold passage, under each way of writing the prompt."""
    print("prompt            tokens  dtype      empty  contains    EM    F1   CPU s a question")
    for chat, tokens, dtype in product(("off", "on"), (64, 256), ("float32", "bfloat16")):
        changes = [f"prompt.chat={chat}", f"prompt.passage_tokens={tokens}", f"models.dtype={dtype}"]
        space = load_space(path, [*settings, *changes])
        data = data_of(space)
        generator = Generator.load(space.models.generator, space.models, CPU, chat=space.prompt.chat)
        writer, by_id = PromptWriter(space.prompt, generator.tokens.offsets), {p.id: p for p in data.passages}
        asked = sampled(data.splits["validation"], QUESTIONS)
        prompts = [writer(q.question, [by_id[name] for name in q.context_ids]) for q in asked]
        began = time.process_time()
        texts = in_batches(generator, prompts, space)
        seconds = (time.process_time() - began) / len(asked)
        rows = list(zip(texts, asked, strict=True))
        empty = fmean(not text for text in texts)
        means = [fmean(metric(text, q.answers) for text, q in rows) for metric in (contains_answer, exact_match, f1)]
        shares = "  ".join(f"{100 * value:6.1f}" for value in (empty, *means))
        print(
            f"{'chat template' if chat == 'on' else 'plain':16}  {tokens:6}  {dtype:9}  {shares}   {seconds:.2f}",
            flush=True,
        )


def in_batches(generator: Generator, prompts: Sequence[str], space: SearchSpace) -> list[str]:
    """Greedy answers, prompts of like length together."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found = [""] * len(prompts)
    for start in range(0, len(order), space.answer.batch_size):
        chosen = order[start : start + space.answer.batch_size]
        texts = generator.generate([prompts[place] for place in chosen], max_new_tokens=space.answer.max_new_tokens)
        for place, text in zip(chosen, texts, strict=True):
            found[place] = text
    return found


def passages(path: Path, settings: list[str]) -> None:
    """Shares of passages that are cut and of gold passages whose answer is lost, over all splits."""
    print("window     tokens   cut %  answers lost %  mean tokens  longest prompt")
    for window, tokens in product(("start", "sentence"), LENGTHS):
        space = load_space(path, [*settings, f"prompt.window={window}", f"prompt.passage_tokens={tokens}"])
        fit = prompt_fit(space, data_of(space))
        lost = 100 * (fit.share_answers_lost or 0.0)
        print(f"{window:9}  {tokens:6}  {100 * fit.share_cut:6.1f}  {lost:14.1f}  {fit.mean_passage_tokens:11.0f}"
              f"  {fit.longest_prompt_tokens:14}")  # fmt: skip


def labels(path: Path, settings: list[str]) -> None:
    """Recall of the embedder tuned on the first gold passage of each question and on all, by cross-validation.

    Few questions have two labelled passages, so that all of them, training and validation together, are asked once a
    seed by an embedder that did not see them. A question with two gold passages is two rows of training: ``all`` is run
    for as many steps as ``first``, and for as many epochs.
    """
    spaces = {how: load_space(path, [*settings, f"training.labels.positives={how}"]) for how in ("first", "all")}
    steps = spaces["all"].training.labels.steps
    variants = (("first", steps), ("all", steps), ("all", 2 * steps))
    with tempfile.TemporaryDirectory() as folder:
        files = files_at(Path(folder) / "run")
        create_run(files, spaces["all"], {})
        run_task(Dispatch(task=IndexTask(), run_dir=files.address), QUIET)
        untuned = np.array([held_out(files, spaces["all"], seed, 0.0, steps=0) for seed in SEEDS])
        print(f"un-tuned, {untuned.shape[1]} questions: R@2 {100 * untuned[..., 0].mean():.1f}, "
              f"R@5 {100 * untuned[..., 1].mean():.1f}", flush=True)  # fmt: skip
        print("lr       positives  steps  R@2 by seed          mean   R@5    R@2 - R@2 of first, 95% interval")
        for rate in RATES:
            first = None
            for how, count in variants:
                found = np.array([held_out(files, spaces[how], seed, rate, steps=count) for seed in SEEDS])
                first = found if first is None else first
                by_seed = "  ".join(f"{100 * mean:5.1f}" for mean in found[..., 0].mean(1))
                two, five = 100 * found.mean((0, 1))
                low, high = interval((found - first)[..., 0].mean(0))
                print(f"{rate:<7g}  {how:9}  {count:5}  {by_seed}  {two:5.1f}  {five:5.1f}  "
                      f"{two - 100 * first[..., 0].mean():+5.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
                      flush=True)  # fmt: skip


def held_out(files: Files, space: SearchSpace, seed: int, rate: float, *, steps: int) -> np.ndarray[Any, Any]:
    """(Q, 2) recall@2 and @5 of each question, asked by an embedder that was tuned without its fold."""
    run = PhaseRun("embedder_labels", "mnr", seed, rate, None, max(1, steps))
    task = replace(train_task(files, PhaseTask("t", "embedder_labels", run), QUIET), space=space)
    questions = [question for question in (*task.train, *task.validation) if question.context_ids]
    folds = np.random.default_rng(seed).permutation(len(questions)) % FOLDS
    found = np.zeros((len(questions), 2))
    for fold in range(FOLDS):
        fresh = train_task(files, PhaseTask("t", "embedder_labels", run), QUIET) if fold else task
        kept = [question for question, own in zip(questions, folds, strict=True) if own != fold]
        trainer = Trainer(replace(fresh, space=space, train=kept), QUIET)
        for step in range(steps):
            trainer.step(step)
        asked = np.flatnonzero(folds == fold)
        found[asked] = recalls(trainer, [questions[row] for row in asked])
    return found


def interval(differences: np.ndarray[Any, Any]) -> tuple[float, float]:
    """95% of the bootstrapped mean over questions."""
    rows = np.random.default_rng(0).integers(len(differences), size=(10_000, len(differences)))
    low, high = np.quantile(differences[rows].mean(1), (0.025, 0.975))
    return float(low), float(high)


def recalls(trainer: Trainer, asked: Sequence[Question]) -> np.ndarray[Any, Any]:
    """(Q, 2) recall@2 and @5."""
    pipeline = trainer.task.pipeline
    found = pipeline.retrieve([question.question for question in asked], 5).tolist()
    names = [[pipeline.passages[place].id for place in row] for row in found]
    return np.array([[recall_at_k(own, q.context_ids, k) or 0.0 for k in (2, 5)]
                     for own, q in zip(names, asked, strict=True)])  # fmt: skip


def merging(path: Path, settings: list[str]) -> None:
    """How much of an adapter's update the weights keep when it is merged into them in bfloat16."""
    print("lr      steps   weight updates lost %   error of the adapter's output %   the same in float32 %")
    space = load_space(path, settings)
    for rate, steps in UPDATES:
        lost, error = merge_loss(space, "bfloat16", rate * steps)
        print(f"{rate:<6g}  {steps:5}   {100 * lost:21.1f}   {100 * error:31.1f}   "
              f"{100 * merge_loss(space, 'float32', rate * steps)[1]:21.5f}", flush=True)  # fmt: skip


def merge_loss(space: SearchSpace, dtype: str, moved: float) -> tuple[float, float]:
    """(share of updated weights that keep their value, relative error of delta W x) of a merge, over all layers.

    The adapter is what so many steps of AdamW make of a fresh one: its zero half moved by ``moved``, signs drawn.
    """
    models = space.models.model_copy(update={"dtype": dtype})
    generator, rng = Generator.load(models.generator, models, CPU), torch.Generator().manual_seed(0)
    add_lora(generator, Training(), 0)
    lost, errors = [], []
    for module in generator.model.modules():
        if not hasattr(module, "lora_B"):
            continue
        up, down = module.lora_B["default"].weight, module.lora_A["default"].weight
        with torch.no_grad():
            up.copy_(moved * (2 * torch.randint(0, 2, up.shape, generator=rng) - 1))
            before = module.base_layer.weight.clone()
            delta = module.scaling["default"] * up @ down
            after = (before.float() + delta).to(before.dtype)
            x = torch.randn(delta.shape[1], 8, generator=rng)
            kept = after.float() - before.float()
            lost.append(float(((kept == 0) & (delta != 0)).float().mean()))
            errors.append(float(((kept - delta) @ x).norm() / (delta @ x).norm()))
    return fmean(lost), fmean(errors)


def steps(path: Path, settings: list[str]) -> None:
    """CPU seconds of scoring with gradient, 8 prompts of a few lengths, adapters on every linear layer."""
    print("tokens  dtype     attention  CPU s")
    for tokens, dtype, attention in product((128, 256), ("float32", "bfloat16"), ("eager", "sdpa")):
        space = load_space(path, [*settings, f"models.dtype={dtype}", f"models.attention={attention}"])
        generator = Generator.load(space.models.generator, space.models, CPU)
        add_lora(generator, Training(), 0)
        prompts = ["word " * (tokens - place) for place in range(0, 80, 10)]
        seconds = []
        for _ in range(4):
            began = time.process_time()
            generator.score(prompts, ["an answer"] * 8).token_logprobs.sum().backward()
            seconds.append(time.process_time() - began)
        print(f"{tokens:6}  {dtype:8}  {attention:9}  {min(seconds[1:]):5.2f}", flush=True)


TABLES: Mapping[str, Callable[[Path, list[str]], None]] = {
    "answers": answers, "passages": passages, "labels": labels, "merging": merging, "steps": steps,
}  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    TABLES[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
