"""A generator in shards on two workers answers, and scores while it is frozen, as a whole one does on one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.generator import Generator
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import PredictionRecord, Report, Status
from raggrid.space.settings import Models
from raggrid.store.files import files_at
from raggrid.study.tasks import AnswerTask, Dispatch, PhaseTask, Task
from raggrid.worker.build import embedder_of, inputs, passage_index, train_task
from raggrid.worker.compared_texts import default_texts
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import CPU, done, phase_task, prepared_run
from tests.two_workers import TwoWorkers

pytestmark = pytest.mark.slow  # two processes that import torch
SHARDED: dict[str, Any] = {
    "training": {"generator": "full", "sharding": "fsdp"},
    "resources": {"workers": 2},
    "data": {"limits": {"train": 80, "validation": 7, "test": 1}},
    "answer": {"max_new_tokens": 6, "batch_size": 2},
}
PROMPTS = tuple(
    f"You are an expert of the town. Answer in few words.\n{text}\nA:"
    for text in ("Who rules?", "Ann lives in Rome and paints.\nWhere does Ann live?", "b", "Who paints the hall?", "?")
)
NUM_PRODUCTS = 6  # of a model's layers that have the shape of which copies are counted; some activations have it too
EXAMPLES = (("Who sings?\nA:", "Eve"), ("Who swims?\nA:", "Tom"))


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory, tiny_models: tuple[Path, Path]) -> str:
    """A generator with large weights: a tiny one as it is made repeats its last token."""
    made = Generator.load(tiny_models[1], Models(embedder="e", generator="g", dtype="float32"), CPU)
    for parameter in made.model.model.layers.parameters():
        parameter.data *= 1.0 if parameter.ndim == 1 else 10.0
    folder = tmp_path_factory.mktemp("lively")
    made.save(folder)
    return str(folder)


def answering(strategy: str, split: str, embedder: str | None, generator: str | None, known: str | None) -> AnswerTask:
    return AnswerTask(f"{strategy}@{split}", strategy, strategy, None, 0, split, embedder, generator, known)


TASKS = (
    answering("baseline", "validation", None, None, None),
    answering("generator", "validation", None, "g", None),
    answering("two_phase", "validation", "r", "g", "generator"),  # a worker may know all, some or none of its answers
    answering("few_shot", "validation", None, None, None),
    answering("gold_context", "test", None, None, None),  # nothing is left for the second worker
)


def work(rank: int, run: str, tasks: tuple[Task, ...]) -> list[Report]:
    """The last report of each task."""
    ended = []
    for task in tasks:
        reports: list[Report] = []
        run_task(Dispatch(task=task, run_dir=run), Worker(report=reports.append, rank=rank, world_size=2))
        ended.append(reports[-1])
    return ended


def predictions(report: Report) -> dict[str, str]:
    return {row.question_id: row.prediction for row in report.rows if isinstance(row, PredictionRecord)}


def test_records_are_those_of_one_device(tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers, lively: str) -> None:
    run = prepared_run(tmp_path / "r", make_space(**SHARDED, models={"generator": lively}))
    for key, phase in (("g", "generator_rag"), ("r", "embedder_rag")):
        assert done(phase_task(phase, key=key, steps=1), run)[-1].status is Status.COMPLETED
    expected = [done(task, run)[-1] for task in TASKS]
    assert len({text for report in expected for text in predictions(report).values()}) > 3, expected
    first, second = pair.do(work, str(run), TASKS)
    for task, given, other, whole in zip(TASKS, first, second, expected, strict=True):
        assert given.status is other.status is Status.COMPLETED
        assert given.rows == whole.rows, task.key
        assert (given.scores, given.num_questions) == (whole.scores, whole.num_questions)
        assert not other.rows


def loaded(folder: str, dtype: Any, stop: int | None = None, shards: int = 1) -> Generator:
    """A generator as one that was tuned as a whole: weights in float32, whatever it computes in."""
    models = Models(embedder="e", generator=folder, dtype=dtype)
    found = Generator.load(folder, models, CPU, float32_weights=True, shards=shards)
    if stop is not None:
        found.model.generation_config.eos_token_id = [stop]
    return found


def answers(generator: Generator, prompts: Sequence[str]) -> list[list[str]]:
    kinds = [(size, examples) for size in (2, None) for examples in ((), EXAMPLES)]
    return [generator.generate(prompts, max_new_tokens=6, batch_size=size, examples=shown) for size, shown in kinds]


class Copies(TorchDispatchMode):
    """Counts the tensors in 16 bit of one shape that are made inside and there at once: ``most`` of them."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape, self.most = shape, 0
        self.made: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.dtype is torch.bfloat16 and each.shape == self.shape:
                storage = each.untyped_storage()
                self.made[storage._cdata] = StorageWeakRef(storage)
                self.most = max(self.most, sum(not ref.expired() for ref in self.made.values()))
        return made


def share(rank: int, folder: str, dtype: str, stop: int) -> dict[str, Any]:
    """The texts of four prompts or of one, and what this worker held: weights, whole layers at once, copies of them."""
    generator = loaded(folder, dtype, stop, shards=2)
    gates, whole = [layer.mlp.gate_proj for layer in generator.model.model.layers], list[int]()
    held = sum(p.to_local().numel() for p in generator.model.parameters())
    for gate in gates:
        gate.register_forward_hook(lambda *_: whole.append(sum(not isinstance(g.weight, DTensor) for g in gates)))
    with Copies(gates[0].weight.shape) as copies:
        texts = answers(generator, PROMPTS[4:] if rank else PROMPTS[:4])
    return {"texts": texts, "held": held, "whole": max(whole), "copies": copies.most}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_worker_holds_more_than_its_part_and_a_layer(lively: str, pair: TwoWorkers, dtype: str) -> None:
    first = answers(loaded(lively, dtype), PROMPTS[:1])[0][0]
    stop = loaded(lively, dtype).tokens.tokenizer(first)["input_ids"][-2]  # some answers end before others
    alone = loaded(lively, dtype, stop)
    expected = answers(alone, PROMPTS[:4]), answers(alone, PROMPTS[4:])
    assert len({*expected[0][0]}) > 2, expected
    total = sum(p.numel() for p in alone.model.parameters())
    for part, texts in zip(pair.do(share, lively, dtype, stop), expected, strict=True):
        assert part["texts"] == texts
        assert part["held"] == pytest.approx(total / 2, rel=0.01)
        assert part["whole"] == 1  # of three layers
        assert part["copies"] < NUM_PRODUCTS


def trained(rank: int, folder: str) -> int:
    """The copies in 16 bit that are there at once in a pass with activations computed again, and its way back."""
    generator = loaded(folder, "bfloat16", shards=2)
    generator.checkpoint_activations()
    with Copies(generator.model.model.layers[0].mlp.gate_proj.weight.shape) as copies:
        generator.score(PROMPTS[:2], ["Bob", "Ann"]).token_logprobs.sum().backward()
    return int(copies.most)


def test_a_pass_that_computes_activations_again_keeps_no_copies_of_the_weights(lively: str, pair: TwoWorkers) -> None:
    assert max(pair.do(trained, lively)) < NUM_PRODUCTS


def frozen(rank: int, run: str, task: PhaseTask) -> tuple[Report, float]:
    """The last report of an embedder that trains, and the share of the frozen generator that lies here."""
    reports: list[Report] = []
    worker = Worker(report=reports.append, rank=rank, world_size=2)
    trainer = Trainer(train_task(files_at(run), task, worker), worker)
    parts = [p for name, p in trainer.frozen.items() if name.startswith("generator")]
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parts)
    trainer.train()
    return reports[-1], held / sum(p.numel() for p in parts)


def test_an_embedder_trains_against_a_generator_in_shards(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers
) -> None:
    run = prepared_run(tmp_path / "r", make_space(**SHARDED))
    done(phase_task("generator_rag", key="g", lr=1e-2), run)
    task = phase_task("embedder_rag", key="one", lr=1e-2)
    task = replace(task, run=replace(task.run, upstream_trial_id="g"))
    whole = done(task, run)[-1]
    shutil.rmtree(run / "index" / "scored")  # what the generator has said
    for report, held in pair.do(frozen, str(run), replace(task, key="two")):
        assert report.status is Status.COMPLETED
        assert report.objective == pytest.approx(whole.objective, rel=1e-4)
        assert report.train_loss == pytest.approx(whole.train_loss, rel=1e-4)
        assert held < 0.51


def compared(rank: int, run: str) -> Mapping[str, str]:
    worker = Worker(report=lambda _: None, rank=rank, world_size=2)
    files = files_at(run)
    space, data = inputs(files)
    by_vllm = space.model_copy(update={"answer": space.answer.model_copy(update={"engine": "vllm"})})
    retriever = LiveRetriever(embedder_of(files, space, worker, None), passage_index(files))
    asked = data.splits["validation"][rank::2]
    return default_texts(files, by_vllm, data, retriever, worker, TASKS[0], asked)


def test_what_another_engine_is_compared_with_comes_from_the_shards(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers
) -> None:
    run = prepared_run(tmp_path / "r", make_space(**SHARDED))
    expected = predictions(done(TASKS[0], run)[-1])
    first, second = pair.do(compared, str(run))
    assert len(first) == 4
    assert first.items() <= expected.items()
    assert second == {}
