"""What writes the answers of a generator, as a pipeline sees it; and which generators an engine has no answers of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from raggrid.errors import ModelError
from raggrid.rag.chat import Example, PromptTokens, from_files
from raggrid.space.settings import Answer, Models


class Engine(Protocol):
    """A generator with its tokens, which decodes greedily. The default one is `raggrid.rag.generator.Generator`."""

    @property
    def tokens(self) -> PromptTokens:
        """The token ids of prompts and answers, and what ends an answer."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int | None = None,
        examples: Sequence[Example] = (),
    ) -> list[str]:
        """Greedy answers in the order of ``prompts``: the text up to the first stop token or line break, stripped.

        ``batch_size``: how many at once, for an engine that does not decide that itself. ``examples``: the turns before
        every prompt.
        """


def check_engine(answer: Answer, models: Models) -> None:
    """Raises ModelError where ``answer.engine`` cannot answer with the generator, by its configuration alone."""
    if answer.engine == "vllm" and _config(models).is_encoder_decoder:
        raise ModelError(
            f"answer.engine: got vllm; vLLM has no encoder-decoders such as '{models.generator}'. Set it to "
            "transformers."
        )


def check_adapters(models: Models, lacks_adapters: Callable[[Sequence[str]], object]) -> None:
    """Raises ModelError where ``lacks_adapters`` says True of the generator's architectures."""
    names = architectures(models)
    if lacks_adapters(names) is True:
        raise ModelError(
            f"answer.engine: got vllm with training.generator: lora; vLLM has no adapters for {', '.join(names)}, the "
            f"architecture of '{models.generator}'. Set it to transformers, or training.generator to full."
        )


def architectures(models: Models) -> list[str]:
    """What the generator's config.json calls its model, as ``LlamaForCausalLM``."""
    return [*(_config(models).architectures or ())]


def _config(models: Models) -> Any:
    from transformers import AutoConfig

    return from_files(AutoConfig, models.generator)
