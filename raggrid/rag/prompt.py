"""A question and its passages -> the text that the generator sees, and the same cut for every reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raggrid.records import Passage

Cut = Callable[[str, int], str]


def passage_text(passage: Passage) -> str:
    """What is embedded and shown of a passage: its title, where it has one, and its text."""
    return f"{passage.title}. {passage.text}" if passage.title else passage.text


@dataclass(frozen=True)
class PromptWriter:
    """Fills the template. ``cut`` shortens a text to so many tokens of the generator's tokenizer."""

    template: str
    passage_tokens: int
    cut: Cut

    def __call__(self, question: str, passages: Sequence[Passage]) -> str:
        """The prompt for ``question`` with ``passages`` in the order given, one a line."""
        context = "\n".join(self.cut(passage_text(passage), self.passage_tokens) for passage in passages)
        # Two replacements, not str.format: braces in a passage are text.
        before, _, after = self.template.partition("{question}")
        return before.replace("{context}", context) + question + after.replace("{context}", context)
