"""A question on its way through the server, and its reply."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from raggrid.export.load import Passages


class Busy(Exception):
    """More questions are waiting than the limit."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with the passages that were found. ``ended``: by itself, not by the longest length."""

    text: str
    passages: Passages
    prompt_tokens: int = 0
    answer_tokens: int = 0
    ended: bool = True


@dataclass(eq=False)
class Pending:
    """A question on its way. ``k``: passages to find, with no answer wanted; None for an answer. ``told``: called on
    a models' thread with the text so far. ``prompt``: its token ids, once passages are found."""

    question: str
    k: int | None = None
    max_tokens: int | None = None
    told: Callable[[str], None] | None = None
    done: Future[Reply] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
    found: Passages = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.done.done()

    def settle(self, result: Reply | Exception) -> None:
        """Hand the reply, or what went wrong, to who waits; nothing happens where nobody does."""
        if not self.is_open or not self.done.set_running_or_notify_cancel():
            return
        if isinstance(result, Exception):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)
