"""What a step of each phase should cost, from parameters, tokens and the device's throughput; and what memory it takes.

Matrix products dominate: 2 operations per parameter and token forward, twice that backward if weights train, once that
if a gradient only passes through (Kaplan et al. 2020, arXiv 2001.08361, section 2.1; a frozen weight needs no gradient
of its own, Hu et al. 2021, arXiv 2106.09685). Attention over short prompts adds little and is left out.
The model was within a quarter on the CPU that it was tried on, but not everywhere: the paper's QLoRA steps on eight A10
took 7 s where it says 1 s, with lengths and batches that the paper does not state. A pilot measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raggrid.model_size import USABLE_MEMORY, ModelSize
from raggrid.planning.devices import DEVICES, Device
from raggrid.planning.workload import Workload
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES, STRATEGIES, Phase
from raggrid.unit_costs import ANSWERING, PhaseCosts, UnitCosts

FORWARD, THROUGH, WEIGHTS = 2, 2, 2  # operations per parameter and token
# AdamW in float32 reads gradient, two moments and weight, writes the last three; clipping and zeroing pass over the
# gradient three more times: ten passes of 4 bytes.
OPTIMIZER_BYTES = 40
ADAM_STATE_BYTES = 12  # gradient and two moments, float32
# Activations kept for the backward pass, in units of (hidden size x element size) per token and layer: inputs of the
# norms, projections, attention and a gated feed-forward block 3.5 times as wide (after Korthikanti et al. 2022,
# arXiv 2205.05198, section 4.1, whose 34 bytes at 16 bit are for a plain block 4 times as wide).
ACTIVATION_UNITS = 24
KEPT_UNITS = 1  # of them with activation checkpointing: the input of each layer
# Bytes moved for a pass over a weight of 4 bits: 0.5 read, 2 written in 16 bit, 2 read by the product.
UNPACKED_BYTES = 4.5
HASH_BYTES_PER_SECOND = 0.8e9  # blake2b, twice over the frozen weights, in the audit of the first step
# In addition to reading the weights: a task in a process that is kept, and on a worker group that is kept (measured).
INLINE_START_SECONDS, GROUP_START_SECONDS = 0.1, 0.5
READ_BYTES_PER_SECOND = 1e9


@dataclass(frozen=True)
class Setting:
    """The inputs of the cost model. ``weight_bits``: bits of a frozen generator weight on the device."""

    space: SearchSpace
    embedder: ModelSize
    generator: ModelSize
    workload: Workload
    device: Device
    weight_bits: int

    @property
    def adapter(self) -> float:
        """Trained parameters of the generator."""
        training, model = self.space.training, self.generator
        if training.generator == "full":
            return model.parameters
        share = 1.0 if training.lora_targets == "all-linear" else min(1.0, len(training.lora_targets) / 7)
        return share * _adapter_parameters(model, training.lora_rank)

    @property
    def tuned_embedder(self) -> float:
        """Trained parameters of the embedder."""
        training, model = self.space.training, self.embedder
        return model.parameters if training.embedder == "full" else _adapter_parameters(model, training.lora_rank)

    @property
    def workers(self) -> int:
        """Workers per trial."""
        return self.space.resources.workers_per_trial

    @property
    def shards(self) -> int:
        """Workers that a generator's weights are split over."""
        return self.workers if self.space.training.sharding == "fsdp" else 1

    @property
    def in_groups(self) -> bool:
        """Whether trials run on worker groups, as far as a device says."""
        return self.space.resources.group_workers(on_cluster=False, gpus=self.device.name != "cpu") > 0

    @property
    def answered_tokens(self) -> float:
        """Tokens of a training prompt without its passage: instruction, question, and the answer after it."""
        work = self.workload
        return work.template_tokens + work.question_tokens + work.answer_tokens

    def prompt_tokens(self, phase: Phase) -> float:
        """Tokens of a training prompt: with one passage if the phase reads passages."""
        return self.answered_tokens + phase.reads_passages * self.workload.passage_tokens

    def share(self, phase: Phase) -> int:
        """Questions of a batch per worker."""
        training = self.space.training
        return math.ceil((training.labels if phase.needs_labels else training.rag).batch_size / self.workers)

    @property
    def memory_bytes(self) -> float | None:
        """A device's memory; of one that is only assumed, what its table says."""
        known = DEVICES.get(self.device.name)
        return self.device.memory_bytes or (known.memory_bytes if known else None)

    def questions_per_pass(self, phase: Phase) -> int:
        """Questions that go through the generator at once: all of a worker's, or, where it trains, as many as were set,
        by default as many as fit a device."""
        share, given = self.share(phase), self.space.training.rag.micro_batch_size
        if not phase.trains_generator:
            return share
        if given or self.memory_bytes is None:
            return min(share, given or share)
        usable, none = USABLE_MEMORY * self.memory_bytes, pass_bytes(self, phase, 0)
        return max(1, min(share, int((usable - none) // (pass_bytes(self, phase, 1) - none))))

    @property
    def weight_bytes(self) -> float:
        """Bytes that are moved for each generator weight in a pass over all of them."""
        return UNPACKED_BYTES if self.weight_bits == 4 else self.weight_bits / 8

    def prompts(self, phase: Phase) -> int:
        """Prompts per question: one per passage."""
        return self.space.retrieval.top_k if phase.reads_passages else 1


def unit_costs(setting: Setting) -> UnitCosts:
    """Costs of every phase, whether or not the space has it, in seconds of one trial."""
    device = setting.device
    return UnitCosts(
        {name: _phase_costs(setting, phase) for name, phase in PHASES.items()},
        _answer_seconds(setting),
        _startup_seconds(setting, in_group=False),
        _seconds(
            device,
            FORWARD * setting.embedder.body * (setting.workload.num_passages or 0) * setting.workload.passage_tokens,
        ),
        {**{name: peak_bytes(setting, phase) for name, phase in PHASES.items()}, ANSWERING: answer_bytes(setting)},
        f"cost model, {device.name}",
        _seconds(device, FORWARD * setting.generator.body * setting.workload.example_tokens),
        {
            name: setting.questions_per_pass(phase)
            for name, phase in PHASES.items()
            if phase.trains_generator and setting.memory_bytes
        },
    )


def _phase_costs(setting: Setting, phase: Phase) -> PhaseCosts:
    training = setting.space.training
    count = (phase.needs_labels and training.labels.validation_questions) or training.validation_questions
    checked = math.ceil(count / setting.workers)
    trained = trained_parameters(setting, phase)
    step = _seconds(setting.device, setting.share(phase) * question_flops(setting, phase))
    step += unpacking_seconds(setting, phase) + exchange_seconds(setting, phase)
    frozen = 0.0 if phase.needs_labels else setting.generator.parameters * setting.weight_bits / 8
    return PhaseCosts(
        step + trained * OPTIMIZER_BYTES / setting.device.bytes_per_second,
        _seconds(setting.device, checked * question_flops(setting, phase, backward=False)),
        2 * frozen / HASH_BYTES_PER_SECOND,
        _startup_seconds(setting, in_group=setting.in_groups),
    )


def unpacking_seconds(setting: Setting, phase: Phase) -> float:
    """Of a step: weights of 4 bits become 16 bit again in every pass, and in its way back. 0 for more bits."""
    if phase.needs_labels or setting.weight_bits != 4:
        return 0.0
    passes = math.ceil(setting.share(phase) / setting.questions_per_pass(phase))
    times = 1 + phase.trains_generator * (1 + setting.space.training.activation_checkpointing)
    return passes * times * UNPACKED_BYTES * setting.generator.body / setting.device.bytes_per_second


def exchange_seconds(setting: Setting, phase: Phase) -> float:
    """Of a step: the workers of a trial add up their gradients and gather what lies in shards, without overlap."""
    return exchanged_bytes(setting, phase) / setting.device.link_bytes_per_second


def exchanged_bytes(setting: Setting, phase: Phase) -> float:
    """What a worker sends in a step: 2 (w - 1) / w of its gradients in float32, in a ring as NCCL has it (Patarasuk and
    Yuan 2009, doi:10.1016/j.jpdc.2008.09.002); and weights in shards, for each pass and its way back."""
    sent = 2 * (setting.workers - 1) / setting.workers * 4 * trained_parameters(setting, phase)
    if phase.needs_labels:
        return sent
    passes = math.ceil(setting.share(phase) / setting.questions_per_pass(phase)) * (1 + phase.trains_generator)
    return sent + passes * gathered_bytes(setting)


def gathered_bytes(setting: Setting) -> float:
    """What a worker sends, and gets, in a pass over a generator whose float32 weights lie in shards."""
    return (setting.shards - 1) / setting.shards * 4 * setting.generator.parameters


def question_flops(setting: Setting, phase: Phase, *, backward: bool = True) -> float:
    """Operations per question: K prompts through the generator, the question's text through the embedder."""
    embedder = setting.embedder.body * setting.workload.question_tokens
    tune_embedder = phase.trains_embedder and backward
    own = WEIGHTS if setting.space.training.embedder == "full" else 0
    total = embedder * (FORWARD + (THROUGH + own if tune_embedder else 0))
    if phase.needs_labels:
        return total
    generator, output = setting.generator.body * setting.prompt_tokens(phase), setting.generator.embeddings
    tunes = phase.trains_generator and backward
    training = setting.space.training
    work = FORWARD + (THROUGH if tunes else 0) + (WEIGHTS if tunes and training.generator == "full" else 0)
    work += FORWARD if tunes and training.activation_checkpointing else 0
    head = output * (setting.workload.answer_tokens + 1)  # logits for the answer's positions alone
    return total + setting.prompts(phase) * work * (generator + head)


def trained_parameters(setting: Setting, phase: Phase) -> float:
    """Parameters that the optimizer updates in a phase."""
    return phase.trains_embedder * setting.tuned_embedder + phase.trains_generator * setting.adapter


def _adapter_parameters(model: ModelSize, rank: int) -> float:
    """Adapters on every linear layer. A rank-r pair on a layer of n x m parameters adds r (n + m).

    Most layers are hidden-sized on one side, and the others add up to about body / (layers x hidden) per layer.
    """
    wide = model.body / (model.num_layers * model.hidden_size)
    return rank * model.num_layers * (wide + 7 * model.hidden_size)


def peak_bytes(setting: Setting, phase: Phase) -> float:
    """Peak memory of a worker in bytes."""
    return pass_bytes(setting, phase, setting.questions_per_pass(phase))


def pass_bytes(setting: Setting, phase: Phase, questions: int) -> float:
    """The same with so many questions per pass: weights, gradients and moments, activations, logits."""
    space, work = setting.space, setting.workload
    element = 2 if space.models.dtype == "bfloat16" else 4
    full = phase.trains_generator and space.training.generator == "full"
    held = phase.trains_embedder * setting.tuned_embedder + phase.trains_generator * setting.adapter / setting.shards
    total = setting.embedder.parameters * 4 + held * ADAM_STATE_BYTES
    if phase.trains_embedder:
        total += _activations(setting.embedder, setting.share(phase) * work.question_tokens, 4)
    if phase.needs_labels:
        return total
    sequences = questions * setting.prompts(phase)
    weights = setting.generator.parameters * (4 if full else setting.weight_bits / 8) + setting.adapter * 4
    total += weights / setting.shards
    if full and setting.shards > 1 and element == 2 and not space.training.activation_checkpointing:
        total += 2 * setting.generator.parameters  # autocast's copies, which the way back needs
    kept = _activations(setting.generator, sequences * setting.prompt_tokens(phase), element)
    one_layer = kept / setting.generator.num_layers
    if space.training.activation_checkpointing:
        kept = kept * KEPT_UNITS / ACTIVATION_UNITS + one_layer
    total += kept if phase.trains_generator else one_layer
    vocabulary = setting.generator.embeddings / setting.generator.hidden_size
    # Logits, their float32 copy, and its gradient.
    return total + sequences * (work.answer_tokens + 1) * vocabulary * (element + 8)


def answer_bytes(setting: Setting) -> float:
    """The generator's weights on a device that answers, in bytes: the least that it needs. vLLM has them whole."""
    space, parameters = setting.space, setting.generator.parameters
    if space.answer.engine == "vllm":
        return parameters * setting.weight_bits / 8
    tuned = space.training.generator == "full" and any(
        "generator" in STRATEGIES[name].tunes for name in space.strategies
    )
    return parameters * (4 if tuned else setting.weight_bits / 8) / setting.shards


def _activations(model: ModelSize, tokens: float, element: int) -> float:
    return ACTIVATION_UNITS * model.hidden_size * element * tokens * model.num_layers


def _answer_seconds(setting: Setting) -> float:
    """Seconds per question: the prompt once, then a pass over the weights for each new token, shared by a batch."""
    space, work, model, device = setting.space, setting.workload, setting.generator, setting.device
    prompt = work.template_tokens + work.question_tokens + space.answer_top_k * work.passage_tokens
    fill = _seconds(device, FORWARD * (model.body * prompt + model.embeddings))
    weights = (model.body + model.embeddings) * setting.weight_bytes
    token = max(weights / device.bytes_per_second / space.answer.batch_size,
                _seconds(device, FORWARD * (model.body + model.embeddings)))  # fmt: skip
    token += gathered_bytes(setting) / device.link_bytes_per_second / space.answer.batch_size
    return fill + space.answer.max_new_tokens * token


def _startup_seconds(setting: Setting, *, in_group: bool) -> float:
    start = GROUP_START_SECONDS if in_group else INLINE_START_SECONDS
    read = max(setting.weight_bits, 16) / 8  # weights of 4 bits are read in 16 and packed
    return start + setting.generator.parameters * read / READ_BYTES_PER_SECOND


def _seconds(device: Device, flops: float) -> float:
    return flops / (device.flops * device.utilisation)


def checkpoint_bytes(setting: Setting, phase: Phase) -> float:
    """What a completed trial of a phase keeps on disk, in bytes: its tuned models in float32."""
    return 4 * trained_parameters(setting, phase)
