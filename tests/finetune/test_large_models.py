"""What lets a large generator fit: weights in 4 bits, small passes, activations that are computed twice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raggrid.errors import ModelError, SpaceError
from raggrid.finetune import objectives, trainer
from raggrid.finetune.audit import fingerprint
from raggrid.finetune.trainer import Trainer
from raggrid.rag.adapters import load_tuned
from raggrid.rag.generator import Generator
from raggrid.rag.precision import check_quantization
from raggrid.space.settings import Models
from raggrid.strategies import PHASES
from raggrid.worker.build import inputs
from tests.conftest import SpaceMaker
from tests.trials import CPU, curve, done, phase_task, prepared_run, trainer_for

QUESTIONS = ["Where was Ada born?", "Who wrote the letter?"]
ANSWERS = ["Paris", "a teacher"]
QLORA = {"models": {"quantization": "nf4", "dtype": "float32"}, "training": {"generator": "lora", "lora_rank": 4}}


def held(change: dict[str, Any], make_space: SpaceMaker, folder: Path, phase: str = "generator_rag") -> Trainer:
    """A trainer whose optimizer neither steps nor clears, so that a step leaves its gradients."""
    subject = trainer_for(prepared_run(folder, make_space(**change)), phase_task(phase))
    subject.optimizer = Mock(wraps=subject.optimizer, step=Mock(), zero_grad=Mock())
    subject.optimizer.param_groups = []
    return subject


def gradients(subject: Trainer) -> Tensor:
    return torch.cat([p.grad.flatten() for p in subject.trained.values() if p.grad is not None])


def sides(subject: Trainer) -> dict[str, Tensor]:
    """The gradients of each model that trains."""
    found: dict[str, list[Tensor]] = {}
    for name, parameter in subject.trained.items():
        if parameter.grad is not None:
            found.setdefault(name.partition(".")[0], []).append(parameter.grad.flatten())
    return {side: torch.cat(parts) for side, parts in found.items()}


class Alive(TorchDispatchMode):
    """Counts the bytes of all that is computed inside and still there, at most: ``peak``. Each storage counts once."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
        self.there: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.there = {key: row for key, row in self.there.items() if not row[0].expired()}
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and (storage := each.untyped_storage())._cdata not in self.own:
                self.there[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.there.values()))
        return made


def saved_bytes(work: Callable[[], object]) -> int:
    """Bytes of the activations that the backward pass will read, each counted as often as it is kept."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(sizes)


@pytest.fixture
def four_bits(make_space: SpaceMaker, tmp_path: Path) -> Path:
    return prepared_run(tmp_path / "r", make_space(**QLORA))


def test_frozen_weights_in_4_bits_score_as_bitsandbytes_own_values_do(make_space: SpaceMaker) -> None:
    """A plain model whose linear weights are those that bitsandbytes gives back has the same scores."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    models = make_space(**QLORA).models
    small = Generator.load(models.generator, models, CPU)
    plain = Generator.load(models.generator, models.model_copy(update={"quantization": "none"}), CPU)
    exact = plain.score(QUESTIONS, ANSWERS).token_logprobs.detach()
    linear = {name: part for name, part in small.model.named_modules() if isinstance(part, Linear4bit)}
    assert len(linear) == 7 * small.model.config.num_hidden_layers
    for name, part in linear.items():
        state: Any = part.weight.quant_state  # type: ignore[attr-defined]
        assert (state.quant_type, state.nested) == ("nf4", True)
        weight = dequantize_4bit(part.weight.data, state).to(torch.float32)
        plain.model.get_submodule(name).weight.data.copy_(weight)
    given, expected = (each.score(QUESTIONS, ANSWERS).token_logprobs.detach() for each in (small, plain))
    torch.testing.assert_close(given, expected, rtol=0, atol=2e-4)
    assert float((given - exact).abs().max()) > 1e-3  # 4 bits are not 32


def test_adapters_train_over_4_bits_and_answer_unmerged(four_bits: Path) -> None:
    subject = trainer_for(four_bits, phase_task("generator_rag", lr=1e-2))
    generator = subject.task.pipeline.required_generator
    assert generator.is_quantized
    assert all("lora_" in name for name in subject.trained)
    before = fingerprint(subject.frozen.values())
    assert subject.train() == "completed"
    assert fingerprint(subject.frozen.values()) == before
    folder = four_bits / "checkpoints" / "t" / "generator"
    assert not (folder / "model.safetensors").exists()
    loaded = load_tuned(folder, inputs(four_bits)[0].models, CPU, chat=inputs(four_bits)[0].prompt.chat)
    assert any("lora_" in name for name, _ in loaded.model.named_parameters())
    scores = [each.score(QUESTIONS, ANSWERS).token_logprobs.detach() for each in (loaded, generator)]
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-6)


def test_a_killed_trial_over_4_bits_continues_to_the_bit(four_bits: Path) -> None:
    done(phase_task("joint_rag", key="straight"), four_bits)

    class Killed(BaseException):
        pass

    def die(_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        trainer_for(four_bits, phase_task("joint_rag", key="broken"), die).train()
    done(phase_task("joint_rag", key="broken"), four_bits)
    assert curve(four_bits, "broken") == curve(four_bits, "straight")


def test_what_4_bits_cannot_do_is_refused(make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpaceError, match=r"training.generator: got full; weights in 4 bits .* cannot train. Use lora"):
        make_space(models={"quantization": "nf4"}, training={"generator": "full"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"models.quantization: got nf4, which needs bitsandbytes; it is not installed"
    ):
        check_quantization(Models(embedder="e", generator="g", quantization="nf4"))


@pytest.mark.parametrize("phase", ["generator_rag", "joint_rag"])
def test_micro_batches_add_up_to_the_whole_batch(phase: str, make_space: SpaceMaker, tmp_path: Path) -> None:
    """The largest difference is relative to the largest gradient of its model: sums are taken in another order, also
    since a pass reads once what its prompts begin with."""
    found, calls = [], []
    for size in (8, 1):
        change = {"training": {"generator": "lora", "rag": {"batch_size": 8, "micro_batch_size": size}}}
        subject = held(change, make_space, tmp_path / str(size), phase)
        counted = Mock(side_effect=objectives.rag_forward)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trainer, "rag_forward", counted)
            loss = subject.step(0).loss
        found.append((loss, sides(subject)))
        calls.append(counted.call_count)
    (whole, expected), (parts, given) = found
    assert calls == [1, 8]
    assert parts == pytest.approx(whole, rel=1e-6)
    assert expected.keys() == given.keys() == {*PHASES[phase].sides}
    for side in expected:
        assert float((given[side] - expected[side]).abs().max() / expected[side].abs().max()) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_passes_of_one_question_hold_less_than_a_third_of_what_eight_at_once_do(
    again: bool, make_space: SpaceMaker, tmp_path: Path
) -> None:
    peaks = {}
    for size in (8, 1):
        rag = {"batch_size": 8, "micro_batch_size": size}
        change = {"training": {"generator": "lora", "activation_checkpointing": again, "rag": rag}}
        subject = held(change, make_space, tmp_path / str(size))
        subject._backward(range(8), audited=False)  # what is made once: the cache of rotations
        with Alive(subject.task.pipeline.required_generator.model) as alive:
            subject._backward(range(8), audited=False)
        peaks[size] = alive.peak
    assert 0 < peaks[1] < 0.3 * peaks[8], peaks


def test_activations_computed_again_give_the_same_gradients_and_take_less_memory(
    make_space: SpaceMaker, tmp_path: Path
) -> None:
    sizes, found = [], []
    for again in (False, True):
        change = {"training": {"generator": "lora", "activation_checkpointing": again}}
        subject = held(change, make_space, tmp_path / str(again))
        generator = subject.task.pipeline.required_generator
        sizes.append(saved_bytes(lambda generator=generator: generator.score(QUESTIONS, ANSWERS)))  # type: ignore[misc]
        subject.step(0)
        found.append(gradients(subject))
        assert not any(part.training for part in generator.model.modules() if isinstance(part, torch.nn.Dropout))
    assert torch.equal(*found)
    assert sizes[1] < 0.3 * sizes[0]
