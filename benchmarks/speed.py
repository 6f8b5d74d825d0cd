"""How well the machine is used: each ratio that raggrid promises, measured in one run against what others do.

    python -m benchmarks.speed joint search_spaces/popqa.yaml data.folder=DIR      # against transformers' RAG losses
    python -m benchmarks.speed peak search_spaces/popqa.yaml data.folder=DIR       # against a plain matrix product
    python -m benchmarks.speed rates search_spaces/popqa.yaml data.folder=DIR      # embedder_rag's searches
    python -m benchmarks.speed answers search_spaces/popqa.yaml data.folder=DIR    # against a text-generation pipeline
    python -m benchmarks.speed embedding search_spaces/popqa.yaml data.folder=DIR  # against SentenceTransformer.encode

Several names are joined by commas; further words are settings, as with --set. CPU seconds on one thread, alternating
where two are compared. Each takes one to four minutes; none needs Ray.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.utils.flop_counter import FlopCounterMode
from transformers import pipeline as transformers_pipeline
from transformers.models.rag.modeling_rag import RagTokenForGeneration

from benchmarks.prepared import STEPS, prepared, trainer_of
from raggrid.data.checked import checked_inputs
from raggrid.evaluation.metrics import recall_at_k
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import CPU
from raggrid.rag.chat import _rendered
from raggrid.rag.embedder import Embedder
from raggrid.rag.generator import Generator
from raggrid.rag.index import Index
from raggrid.rag.loading import loadable
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import PromptWriter, passage_text
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import Question
from raggrid.space.yaml_io import load_space

RATES = (1e-6, 1e-5, 1e-4, 3e-6, 3e-5, 2e-6, 5e-6, 2e-5, 5e-5)  # the first three are the space's
BATCHES = (1, 8, 32)
LARGE = 64  # prompts are read a few at a time whatever their number
ASKED, ROUNDS, PEAK_STEPS = 200, 2, 8


def spent(work: Callable[[], object]) -> float:
    """CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _collect(rows: list[Any], work: Callable[[], Any]) -> None:
    rows.extend(work())


def told(seconds: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):.2f} CPU s ({min(seconds):.2f} to {max(seconds):.2f})"


def joint(path: Path, settings: list[str]) -> None:
    """A joint step with k = 4, batch 4 and 64-token passages against transformers' loss on full logits."""
    shape = ["retrieval.top_k=4", "training.rag.batch_size=4", "prompt.passage_tokens=64"]
    plain = ["models.dtype=float32", "models.attention=sdpa"]  # what transformers takes where nothing is said
    rows: dict[str, list[float]] = {}
    with (
        prepared(path, [*settings, *shape]) as (ours, _, _),
        prepared(path, [*settings, *shape, *plain]) as (theirs, *_),
    ):
        trainers = {"raggrid": (trainer_of(ours, "joint_rag"), Trainer.step),
                    "raggrid in float32": (trainer_of(theirs, "joint_rag"), Trainer.step),
                    "transformers": (trainer_of(theirs, "joint_rag"), full_logits_step)}  # fmt: skip
        for step in range(STEPS + 1):
            for name, (trainer, take) in trainers.items():
                rows.setdefault(name, []).append(spent(partial(take, trainer, step)))
    for name, seconds in rows.items():
        ratio = statistics.median(rows["transformers"][1:]) / statistics.median(seconds[1:])
        print(f"{name:20} {told(seconds[1:])} a step   {ratio:.2f} x as fast as transformers")


def full_logits_step(trainer: Trainer, step: int) -> None:
    """The same step with RAG-Token's loss of transformers: logits and marginal of every position of every prompt."""
    pipeline, settings, batch = trainer.task.pipeline, trainer.task.space.retrieval, trainer.task.batch_size
    asked = trainer.task.train[step * batch : (step + 1) * batch]
    generator = pipeline.required_generator
    scores, positions = pipeline.retriever.score([question.question for question in asked], settings.top_k)
    prompts = [pipeline.prompt(q.question, [p]) for q, row in zip(asked, positions.tolist(), strict=True) for p in row]
    pairs = generator.tokens.pairs(prompts, [q.answers[0] for q in asked for _ in range(settings.top_k)])
    ids, attention = generator._padded([head + tail for head, tail in pairs], left=True)
    pad = generator.tokens.tokenizer.pad_token_id
    target = torch.full((len(asked), ids.shape[1]), pad)
    for row, (_, tail) in enumerate(pairs[:: settings.top_k]):
        target[row, -len(tail) :] = torch.tensor(tail)
    config = SimpleNamespace(generator=SimpleNamespace(pad_token_id=pad), n_docs=settings.top_k)
    holder = SimpleNamespace(config=config)
    holder.marginalize = lambda *given: RagTokenForGeneration.marginalize(holder, *given)
    logits = generator.model(input_ids=ids, attention_mask=attention).logits
    loss = RagTokenForGeneration.get_nll(holder, logits, scores / settings.temperature, target)
    loss.mean().backward()
    trainer._clip(step)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)


def peak(path: Path, settings: list[str]) -> None:
    """Matrix products per second of a generator step, as a share of what one product of its shapes reaches; and a
    joint step, in generator steps of one passage."""
    with prepared(path, settings) as (files, space, _):
        trainers = {phase: trainer_of(files, phase, steps=PEAK_STEPS + 2) for phase in ("generator_rag", "joint_rag")}
        model = trainers["generator_rag"].task.pipeline.required_generator.model
        for trainer in trainers.values():
            trainer.step(0)
        rows: dict[str, list[float]] = {phase: [] for phase in trainers}
        best = []
        for step in range(1, PEAK_STEPS + 1):
            for phase in sorted(trainers, reverse=step % 2 == 0):  # either goes first every other time
                rows[phase].append(spent(partial(trainers[phase].step, step)))
            best.append(matmul_rate(1024, model.config.hidden_size, model.config.intermediate_size, model.dtype))
        operations = [counted(partial(trainers["generator_rag"].step, step)) for step in range(1, PEAK_STEPS + 1)]
    reached = [many / seconds / 1e9 for many, seconds in zip(operations, rows["generator_rag"], strict=True)]
    shares = sorted(100 * each / top for each, top in zip(reached, best, strict=True))
    print(f"{model.dtype}: a product reaches {statistics.median(best):.0f} GFLOP/s; a generator step "
          f"{statistics.median(reached):.0f}, {statistics.median(shares):.0f}% "
          f"({shares[0]:.0f} to {shares[-1]:.0f})")  # fmt: skip
    ratios = sorted(joint / alone for joint, alone in zip(rows["joint_rag"], rows["generator_rag"], strict=True))
    print(f"generator {told(rows['generator_rag'])}, joint {told(rows['joint_rag'])} a step with "
          f"{space.retrieval.top_k} passages per question: {statistics.median(ratios):.2f} x "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip


def counted(work: Callable[[], object]) -> int:
    """Operations of matrix products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def matmul_rate(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """10^9 operations per second of plain matrix products."""
    left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    seconds = min(spent(lambda: torch.nn.functional.linear(left, right)) for _ in range(20))
    return 2 * rows * inner * columns / seconds / 1e9


def rates(path: Path, settings: list[str]) -> None:
    """Training and evaluation of embedder_rag over a search's rates, sharing scores, against each by itself."""
    with prepared(path, settings) as (files, space, _):
        steps = space.training.rag.steps
        alone = [spent(trainer_of(files, "embedder_rag", rate=rate, steps=steps, share=False).train)
                 for rate in RATES[1:2]]  # fmt: skip
        shared = [spent(trainer_of(files, "embedder_rag", rate=rate, steps=steps).train) for rate in RATES]
    print(f"alone {told(alone)} a trial; shared: {', '.join(f'{seconds:.1f}' for seconds in shared)} CPU s")
    for count in (3, len(RATES)):
        print(f"{count} rates: {sum(shared[:count]) / (count * alone[0]):.2f} of the time without sharing")


def answers(path: Path, settings: list[str]) -> None:
    """The un-tuned generator on up to ``ASKED`` validation questions with their first gold passage, alternating."""
    space, data = checked_inputs(load_space(path, settings))
    places = {passage.id: place for place, passage in enumerate(data.passages)}
    asked = [question for question in data.splits["validation"] if question.context_ids][:ASKED]
    found = [[places[question.context_ids[0]]] for question in asked]
    ways: dict[str, Callable[[], list[str]]] = {}
    prompts: list[str] = []
    for dtype in ("float32", "bfloat16"):
        models = space.models.model_copy(update={"dtype": dtype})
        generator = Generator.load(models.generator, models, CPU, chat=space.prompt.chat)
        unused: Any = None
        ours = Pipeline(unused, generator, data.passages, PromptWriter(space.prompt, generator.tokens.offsets))
        length, texts = space.answer.max_new_tokens, [question.question for question in asked]
        for size in {space.answer.batch_size, LARGE} if dtype == "float32" else {space.answer.batch_size}:
            ways[f"raggrid, {dtype}, batch {size}"] = partial(
                ours.answer, texts, found, max_new_tokens=length, batch_size=size
            )
        prompts = [ours.prompt(text, row) for text, row in zip(texts, found, strict=True)]
        prompts = [_rendered(generator.tokens.tokenizer, p) for p in prompts] if generator.tokens.chat else prompts
        theirs = transformers_pipeline(
            "text-generation", model=loadable(models.generator), device="cpu", dtype=getattr(torch, dtype)
        )
        for size in BATCHES if dtype == "float32" else BATCHES[1:2]:  # float32 is what the model is saved in
            ways[f"pipeline, {dtype}, batch {size}"] = partial(_piped, theirs, prompts, size, length)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for name, answer in ways.items():
            said[name] = []
            seconds[name].append(spent(partial(_collect, said[name], answer)) / len(asked))
    best = min((n for n in ways if n.startswith("pipeline, float32")), key=lambda n: min(seconds[n]))
    print(f"{len(asked)} questions; the text-generation pipeline is at its best with {best.rpartition(', ')[2]}")
    for name, rows in seconds.items():
        ratio = statistics.median(seconds[best]) / statistics.median(rows)
        same = statistics.fmean(one == two for one, two in zip(said[name], said[best], strict=True))
        print(f"{name:28} {1000 * statistics.median(rows):5.0f} CPU ms a question ({1000 * min(rows):.0f} to "
              f"{1000 * max(rows):.0f})   {ratio:.2f} x as fast   same text {100 * same:.0f}%")  # fmt: skip


def _piped(model: Any, prompts: list[str], size: int, length: int) -> list[str]:
    if model.tokenizer.pad_token_id is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    model.tokenizer.padding_side = "left"
    rows = model(prompts, batch_size=size, do_sample=False, max_new_tokens=length, return_full_text=False)
    return [row[0]["generated_text"].strip().partition("\n")[0].strip() for row in rows]


def embedding(path: Path, settings: list[str]) -> None:
    """The whole corpus, alternating; then recall@5 of the validation questions."""
    space, data = checked_inputs(load_space(path, settings))
    embedder = Embedder.load(space.models, CPU)
    library = SentenceTransformer(loadable(space.models.embedder), device="cpu")
    texts = [passage_text(passage) for passage in data.passages]
    ways: Mapping[str, Callable[[], Any]] = {
        "raggrid": lambda: embedder.encode_passages(texts), "library": lambda: library.encode(texts)
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, encode in ways.items():
            made: list[Any] = []
            seconds[name].append(spent(partial(_collect, made, encode)))
            vectors[name] = np.array(made)
    asked, ids = data.splits["validation"], [passage.id for passage in data.passages]
    for name in ways:
        live = LiveRetriever(embedder, Index(vectors[name]))
        print(f"{name:8} {told(seconds[name])}  recall@5 {100 * recall(live, asked, ids):.2f}")
    print(f"{statistics.median(seconds['library']) / statistics.median(seconds['raggrid']):.2f} x as fast; largest "
          f"difference {np.abs(vectors['raggrid'] - vectors['library']).max():.1g}")  # fmt: skip


def recall(live: LiveRetriever, asked: Sequence[Question], ids: Sequence[str]) -> float:
    """Mean recall@5."""
    rows = live.find([question.question for question in asked], 5).tolist()
    return statistics.fmean(
        recall_at_k([ids[place] for place in row], q.context_ids, 5) or 0.0 for q, row in zip(asked, rows, strict=True)
    )


TABLES: Mapping[str, Callable[[Path, list[str]], None]] = {
    "joint": joint, "peak": peak, "rates": rates, "answers": answers, "embedding": embedding,
}  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    for table in sys.argv[1].split(","):
        TABLES[table](Path(sys.argv[2]), sys.argv[3:])
