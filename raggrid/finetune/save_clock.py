"""When a run's state is due to be saved between two evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable


class SaveClock:
    """Due every ``minutes``, never for 0. Only the worker that saves may read it: the clocks of others differ."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.now = 60 * minutes, now
        self.restart()

    def restart(self) -> None:
        """A state was saved at this moment."""
        self.since = self.now()

    def is_due(self) -> bool:
        """Whether the last state is older than wanted."""
        return self.seconds > 0 and self.now() - self.since >= self.seconds
