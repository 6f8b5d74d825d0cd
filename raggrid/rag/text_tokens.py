"""Where the tokens of a text lie, by the tokenizer of an embedder; its weights are not loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raggrid.errors import ModelError
from raggrid.rag.chat import from_files

Spans = Sequence[tuple[int, int]]
TokenSpans = Callable[[Sequence[str]], list[Spans]]
"""Where each token of each text begins and ends, in characters."""


def token_spans(reference: str) -> TokenSpans:
    """The tokens of a sentence-transformers model, without the special ones.

    Raises:
        ModelError: nothing on this machine holds its tokenizer, or it is not a fast one.
    """
    from transformers import AutoTokenizer

    tokenizer = from_files(AutoTokenizer, reference)
    if not tokenizer.is_fast:
        raise ModelError(f"model '{reference}': got a tokenizer without offsets; expected a fast one. Choose another.")

    def spans(texts: Sequence[str]) -> list[Spans]:
        found = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        rows: list[Spans] = found["offset_mapping"]
        return rows

    return spans
