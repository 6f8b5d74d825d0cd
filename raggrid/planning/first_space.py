"""Data and two models -> a first search space that runs: its sizes fit the device and the budget, by the cost model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from raggrid.data.checked import data_of
from raggrid.data.folder import Dataset
from raggrid.data.sampling import sampled
from raggrid.errors import InputError
from raggrid.evaluation.prompt_fit import PromptFit, prompt_fit
from raggrid.model_size import ModelSize
from raggrid.planning.cost_model import Setting, unit_costs
from raggrid.planning.devices import Device
from raggrid.planning.planner import BFLOAT16_SPEEDUP, size_of
from raggrid.planning.pricing import Pricing, price
from raggrid.planning.this_machine import machine
from raggrid.planning.workload import Workload, workload_of
from raggrid.rag.chat import load_tokens
from raggrid.rag.precision import resolved
from raggrid.rag.prompt import passage_text
from raggrid.space.commented import commented
from raggrid.space.schema import nested
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import parse_space
from raggrid.strategies import STRATEGIES

PASSAGE_TOKENS = (64, 128, 256, 512)
LOST_AT_MOST = 0.02  # of the gold passages that hold an answer
CUT_AT_MOST = 0.05  # of the passages, where no label says which ones hold answers
SHORT_PROMPT = "{context}\n{question}\nA:"
ANSWERS_COVERED = 0.99
ASKED = (2_000, 1_000, 500, 200, 100)  # questions of a split that are answered; 2,000 show gaps of about 5 points
ANSWERING_SHARE = 0.4  # of the budget
USED = 0.8  # of the budget by expectation: the cost model may be a quarter off, and a share is kept for answering
FEWEST_STEPS, LABEL_EPOCHS = 12, 1.0
MOST_EPOCHS = 3.0
BATCH_SIZES = (4, 2, 1)
SAMPLE = 2_000  # texts whose lengths are estimated
RATES: dict[str, list[float]] = {"embedder": [1e-6, 1e-5, 1e-4], "generator": [1e-4, 3e-4, 1e-3]}


@dataclass(frozen=True, kw_only=True)
class FirstSpace:
    """A space, why each of its keys is as it is (by dotted key), the file's text, and what the study should cost."""

    space: SearchSpace
    reasons: dict[str, str]
    text: str
    pricing: Pricing
    about: tuple[str, ...]


def first_space(
    folder: str,
    embedder: str,
    generator: str,
    *,
    name: str = "my-study",
    hours: float = 8.0,
    device: str | None = None,
    num_devices: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> FirstSpace:
    """Look at data and models, and choose what fits.

    Args:
        folder: of the data, or ``hub:NAME``.
        embedder: model reference.
        generator: model reference.
        name: of the study.
        hours: of wall time that the study may take.
        device: of a worker, a name of `planning.devices.DEVICES`. Default: what this machine has.
        num_devices: that the study may use. Default: this machine's.
        say: called with a sentence about what takes long.

    Raises:
        InputError: wrong data or models, or nothing that fits the device or the budget.
    """
    if hours <= 0:
        raise InputError(f"hours: got {hours:g}; expected more than 0.")
    base = {"name": name, "data.folder": folder, "models.embedder": embedder, "models.generator": generator}
    bare = parse_space(nested({**base, "strategies": ["baseline"]}))
    data = data_of(bare)
    say(f"looking at {len(data.passages):,} passages and at the models ...")
    chosen = _Choice(base, data, (size_of(embedder), size_of(generator)), *machine(device, num_devices), hours)
    return chosen.made()


@dataclass
class _Choice:
    """What is known, and what has been chosen so far, each with its reason."""

    settings: dict[str, Any]
    data: Dataset
    sizes: tuple[ModelSize, ModelSize]
    device: Device
    num_devices: int
    hours: float

    def __post_init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.fit: PromptFit | None = None
        self.work: Workload | None = None

    def choose(self, key: str, value: Any, why: str) -> None:
        self.settings[key], self.reasons[key] = value, why

    def space(self) -> SearchSpace:
        return parse_space(nested(self.settings))

    def made(self) -> FirstSpace:
        self._strategies()
        self._lengths()
        self._fixed()
        self._memory_fits()
        pricing = self._sized()
        self.choose("budget.wall_hours", self.hours, "The search ends with what it has by then. Or: --wall-hours.")
        expected = pricing.bill.wall_seconds.expected / 3600
        count = f"{self.num_devices} {'cores' if self.device.name == 'cpu' else self.device.name}"
        head = (
            f"Made by raggrid init for {count} and {self.hours:g} hours; the cost model expects {expected:.1f}.\n"
            f"raggrid plan {self.settings['name']}.yaml --pilot measures what it will really take, and\n"
            f"raggrid search {self.settings['name']}.yaml --run runs/{self.settings['name']} runs it."
        )
        text = commented(self.settings, self.reasons, head)
        return FirstSpace(space=self.space(), reasons=self.reasons, text=text, pricing=pricing, about=self.data.about)

    def _strategies(self) -> None:
        bare = self.data.num_unlabelled("train")
        default = [name for name, about in STRATEGIES.items() if about.by_default]
        fitting = [name for name in default if not (bare and STRATEGIES[name].needs_labels)]
        total = len(self.data.splits["train"])
        why = (
            f"{bare:,} of {total:,} training questions have no context labels, which the others need; 'raggrid data "
            "label' makes some."
            if bare
            else f"All {total:,} training questions have context labels, so that every strategy can run."
        )
        self.choose("strategies", fitting, why)
        self.choose("learning_rates.embedder", RATES["embedder"], "Three decades around the usual 1e-5. If the best "
                    "one is at an end, widen the list, or set extend_grid.")  # fmt: skip
        self.choose("learning_rates.generator", RATES["generator"], "Of LoRA adapters, whose rates are about ten times "
                    "those of full training.")  # fmt: skip
        self.settings["learning_rates.joint"] = "two_phase"

    def _lengths(self) -> None:
        """How much of a passage and of an answer there is room for."""
        held = bool(next((row for row in self.data.splits["train"] if row.context_ids), None))
        for tokens in PASSAGE_TOKENS:
            fit = self.fit = self._fit(tokens)
            lost = fit.share_answers_lost
            if (lost is not None and lost <= LOST_AT_MOST) or (not held and fit.share_cut <= CUT_AT_MOST):
                break
        told = "" if fit.share_answers_lost is None else (
            f", and {100 * fit.share_answers_lost:.1f}% of the labelled passages that hold an answer lose it"
        )  # fmt: skip
        self.choose("prompt.passage_tokens", tokens, f"{100 * fit.share_cut:.0f}% of the passages are longer{told}.")
        longest = self._answer_tokens()
        self.choose(
            "answer.max_new_tokens", longest, f"{100 * ANSWERS_COVERED:g}% of the training answers are not longer."
        )

    def _fit(self, tokens: int) -> PromptFit:
        """How prompts with so many passage tokens fit. A window too small for the usual prompt gets a short one."""
        self.settings["prompt.passage_tokens"] = tokens
        try:
            return prompt_fit(self.space(), self.data)
        except InputError:
            if "prompt.template" in self.settings:
                raise
        self.choose("prompt.template", SHORT_PROMPT, "The usual prompt does not fit the generator's context window.")
        return prompt_fit(self.space(), self.data)

    def _answer_tokens(self) -> int:
        tokens, _ = load_tokens(self.settings["models.generator"], "auto")
        answers = [row.answers[0] for row in sampled(self.data.splits["train"], SAMPLE)]
        lengths = sorted(len(tail) for _, tail in tokens.pairs([""] * len(answers), answers))
        return max(8, lengths[int(ANSWERS_COVERED * (len(lengths) - 1))])

    def _fixed(self) -> None:
        self.choose("retrieval.top_k", 2, "Passages that training marginalises over; two are the fewest that teach the "
                    "embedder anything.")  # fmt: skip
        if any(STRATEGIES[name].needs_labels for name in self.settings["strategies"]):
            self.choose("training.labels.epochs", LABEL_EPOCHS, "A pass over the labels costs little.")
        self.choose("resources.workers", 0, "One device per trial: trials run side by side.")

    def _memory_fits(self) -> None:
        """The largest batch of the RAG phases that the device has room for."""
        limit = self.device.memory_bytes
        for size in BATCH_SIZES:
            self.settings["training.rag.batch_size"] = size
            self.settings["training.rag.steps"] = FEWEST_STEPS
            need = max(self._priced().memory_bytes.values(), default=0.0)
            if limit is None or need <= limit:
                self.choose("training.rag.batch_size", size, f"Needs about {need / 1e9:.1f} GB of {self._told(limit)}.")
                return
        raise InputError(
            f"device memory: got {self._told(limit)}; expected about {need / 1e9:.1f} GB for one question at a time. "
            "Name a larger device with --device, or a smaller generator."
        )

    @staticmethod
    def _told(limit: float | None) -> str:
        return "an unknown memory" if limit is None else f"{limit / 1e9:.0f} GB"

    def _sized(self) -> Pricing:
        """Questions to answer and steps to train, as many as the budget allows."""
        rows, size = len(self.data.splits["train"]), self.settings["training.rag.batch_size"]
        most = max(FEWEST_STEPS, int(MOST_EPOCHS * rows / size))
        steps = self._affordable_steps(most)
        told = f"answering takes at most {100 * ANSWERING_SHARE:.0f}% of the budget; more questions show smaller gaps."
        for key in [key for key in self.settings if key.startswith("data.limits.")]:
            self.reasons[key] = f"So that {told}"
        epochs = steps * size / rows
        limit = "more would hardly help" if steps == most else f"more would not fit into {self.hours:g} hours"
        self.choose("training.rag.steps", steps, f"{epochs:.2g} passes over the training questions; {limit}.")
        return self._priced()

    def _affordable_steps(self, most: int) -> int:
        """Steps per trial, with as many answered questions as leave room for the fewest steps."""
        for count in ASKED:
            self._ask(count)
            answering = self._priced().bill.answering_device_seconds.expected
            if answering <= ANSWERING_SHARE * self._seconds() or count == ASKED[-1]:
                steps = _largest(FEWEST_STEPS, most, self._is_affordable)
                if steps is not None:
                    return steps
        hours = self._priced().bill.wall_seconds.expected / 3600 / USED
        raise InputError(
            f"hours: got {self.hours:g}; expected at least {ceil(100 * hours) / 100:g} for {FEWEST_STEPS} steps per "
            "trial. Raise --hours, or choose a smaller generator."
        )

    def _ask(self, count: int) -> None:
        for split in ("validation", "test"):
            if len(self.data.splits.get(split, ())) > count:
                self.settings[f"data.limits.{split}"] = count
        seen = min(64, count, len(self.data.splits["validation"]))
        self.choose("training.validation_questions", seen, "The objective is measured on these at every rung.")

    def _is_affordable(self, steps: int) -> bool:
        self.settings["training.rag.steps"] = steps
        return self._priced().bill.wall_seconds.expected <= USED * 3600 * self.hours

    def _seconds(self) -> float:
        return USED * 3600 * self.hours * self.num_devices

    def _priced(self) -> Pricing:
        space = self.space()
        models = resolved(space.models, [self.device.name])
        fast = self.device.name == "cpu" and models.dtype == "bfloat16"
        device = replace(self.device, flops=BFLOAT16_SPEEDUP * self.device.flops) if fast else self.device
        space = space.model_copy(update={"models": models, "training": _stepped(space, self.data)})
        bits = 16 if models.dtype == "bfloat16" else 32
        setting = Setting(space, *self.sizes, self._workload(space), device, bits)
        units = unit_costs(setting)
        return price(setting, units, num_devices=self.num_devices, dollars_per_device_hour=None, notes=())

    def _workload(self, space: SearchSpace) -> Workload:
        limits = {str(split): limit for split, limit in space.data.limits.items()}
        counts = {split: min(len(rows), limits.get(split, len(rows))) for split, rows in self.data.splits.items()}
        if self.work is None:
            passages = [passage_text(passage) for passage in sampled(self.data.passages, SAMPLE)]
            train = sampled(self.data.splits["train"], SAMPLE)
            asked, told = [row.question for row in train], [row.answers[0] for row in train]
            found = workload_of(space, passages, asked, told, counts, self.fit)
            self.work = replace(found, num_passages=len(self.data.passages))
        return replace(self.work, num_validation=counts["validation"], num_test=counts.get("test", 0))


def _stepped(space: SearchSpace, data: Dataset) -> Any:
    from raggrid.data.checked import training_rows
    from raggrid.space.lengths import with_steps

    return with_steps(space, training_rows(space, data)).training


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number in [low, high] that fits, where every smaller one does too; None where none does."""
    if not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
