"""A budget as a clock: how long a study may still train, and how long it may still answer. Knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from raggrid.space.settings import Budget


class Closing(StrEnum):
    """What a used-up budget lets start no more; after ``training`` what is finished is still answered."""

    NOTHING = "nothing"
    TRAINING = "training"
    ALL = "all"


@dataclass
class BudgetClock:
    """Counts what the allocation uses: ``devices`` held from ``began`` on, idle or not; ``per_trial``: a trial's.

    ``used_device_seconds`` and ``used_wall_seconds`` are of earlier sessions of the same study. All limits turn into
    one end in wall time. Training ends before it, so that what is finished can still be answered: by the budget's
    reserve, or by what the answering measured so far says it needs, if that is more.
    """

    budget: Budget
    devices: float
    began: float
    now: Callable[[], float]
    dollars_per_device_hour: float | None = None
    used_device_seconds: float = 0.0
    used_wall_seconds: float = 0.0
    answer_seconds: list[float] = field(default_factory=list)
    per_trial: float = 1.0

    def limit_seconds(self) -> float:
        """Wall seconds that this session may take; infinite without a budget."""
        budget, limits = self.budget, [math.inf]
        if budget.device_hours:
            limits.append((3600 * budget.device_hours - self.used_device_seconds) / self.devices)
        if budget.wall_hours:
            limits.append(3600 * budget.wall_hours - self.used_wall_seconds)
        if budget.dollars and self.dollars_per_device_hour:
            hours = budget.dollars / self.dollars_per_device_hour
            limits.append((3600 * hours - self.used_device_seconds) / self.devices)
        return min(limits)

    def closes(self, num_answers: int) -> Closing:
        """What is to be started no more.

        Args:
            num_answers: answerings that would still be needed if training ended now.
        """
        limit = self.limit_seconds()
        if math.isinf(limit):
            return Closing.NOTHING
        gone = self.now() - self.began
        if gone >= limit:
            return Closing.ALL
        return Closing.TRAINING if gone >= limit - self._reserve(limit, num_answers) else Closing.NOTHING

    def _reserve(self, limit: float, num_answers: int) -> float:
        measured = median(self.answer_seconds) if self.answer_seconds else 0.0
        return max(self.budget.reserve * limit, math.ceil(num_answers * self.per_trial / self.devices) * measured)
