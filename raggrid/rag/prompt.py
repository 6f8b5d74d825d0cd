"""A question and its passages -> the text that the generator sees, and the same part of a passage for every reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raggrid.records import Passage
from raggrid.space.settings import Prompt

Offsets = Callable[[str], Sequence[tuple[int, int]]]
"""Where each token of a text begins and ends, in characters."""
_SENTENCE = re.compile(r"\S.*?(?:[.!?]+(?=\s)|\n|\Z)", re.DOTALL)
_WORD = re.compile(r"\w{4,}")  # shorter ones are mostly "the", "who", "of": long sentences have them


def passage_text(passage: Passage) -> str:
    """What is embedded and shown of a passage: its title, where it has one, and its text."""
    return f"{_head(passage)}{passage.text}"


def _head(passage: Passage) -> str:
    return f"{passage.title}. " if passage.title else ""


@dataclass(frozen=True)
class PromptWriter:
    """Fills the template. ``offsets`` tells where the generator's tokens lie in a text; None: nothing is cut."""

    settings: Prompt
    offsets: Offsets | None = None

    def __call__(self, question: str, passages: Sequence[Passage]) -> str:
        """The prompt for ``question`` with ``passages`` in the order given, one a line."""
        context = "\n".join(self.shown(passage, question) for passage in passages)
        # Two replacements, not str.format: braces in a passage are text.
        before, _, after = self.settings.template.partition("{question}")
        return before.replace("{context}", context) + question + after.replace("{context}", context)

    def shown(self, passage: Passage, question: str) -> str:
        """What the prompt holds of a passage: all of it, or the part of ``passage_tokens`` that ``window`` asks for."""
        text, limit = passage_text(passage), self.settings.passage_tokens
        offsets = self.offsets(text) if self.offsets else ()
        if len(offsets) <= limit:
            return text
        head = len(_head(passage))
        if self.settings.window == "start" or offsets[limit - 1][0] < head:
            return text[: offsets[limit - 1][1]].rstrip()
        first, last = nearest_sentence(passage.text, question)
        return _around(text, offsets, limit, head, (head + first, head + last))


def nearest_sentence(text: str, question: str) -> tuple[int, int]:
    """Where the sentence lies that shares the most words of four letters or more with the question; the first of
    equals."""
    wanted = set(_WORD.findall(question.lower()))
    spans = [found.span() for found in _SENTENCE.finditer(text)]
    return max(spans, key=lambda span: len(wanted & set(_WORD.findall(text[slice(*span)].lower()))))


def _around(text: str, offsets: Sequence[tuple[int, int]], limit: int, head: int, sentence: tuple[int, int]) -> str:
    """The head and, of what follows it, the tokens with the sentence in their middle, as many as ``limit`` leaves."""
    titled = sum(start < head for start, _ in offsets)
    room = limit - titled
    inside = [place for place, (start, end) in enumerate(offsets) if end > sentence[0] and start < sentence[1]]
    spare = max(0, (room - len(inside)) // 2)
    first = max(titled, min(inside[0] - spare, len(offsets) - room))
    return text[:head] + text[offsets[first][0] : offsets[first + room - 1][1]].strip()
