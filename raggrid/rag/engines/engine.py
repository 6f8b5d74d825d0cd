"""What writes the answers of a generator, as a pipeline sees it; and which generators an engine has no answers of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
    if answer.engine != "vllm":
        return
    from transformers import AutoConfig

    if from_files(AutoConfig, models.generator).is_encoder_decoder:
        raise ModelError(
            f"answer.engine: got vllm; vLLM has no encoder-decoders such as '{models.generator}'. Set it to "
            "transformers."
        )
