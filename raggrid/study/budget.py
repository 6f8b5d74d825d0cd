"""A budget as a clock: how long a study may still train, and how long it may still answer. Knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from raggrid.prices import hourly_dollars
from raggrid.space.settings import Budget, Resources


class Closing(StrEnum):
    """What a used-up budget lets start no more; after ``training`` what is finished is still answered."""

    NOTHING = "nothing"
    TRAINING = "training"
    ALL = "all"


@dataclass
class BudgetClock:
    """Counts what the allocation uses: ``devices`` held from ``began`` on, idle or not; ``per_trial``: a trial's. Where
    every node was lost ``devices`` is 0.

    ``dollars_per_hour`` is the price of all these devices, each at that of its type; None without one. What was
    ``used`` is of before ``began``: of earlier sessions of the same study, and of this one with other devices. All
    limits turn into one end in wall time. Training ends before it, so that what is finished can still be answered: by
    the budget's reserve, or by what the answering measured so far says it needs, if that is more.
    """

    budget: Budget
    devices: float
    began: float
    now: Callable[[], float]
    dollars_per_hour: float | None = None
    used_device_seconds: float = 0.0
    used_wall_seconds: float = 0.0
    answer_seconds: list[float] = field(default_factory=list)
    per_trial: float = 1.0
    used_dollars: float = 0.0

    def hold(self, devices: float, dollars_per_hour: float | None) -> None:
        """The session holds other devices from now on."""
        gone = max(0.0, self.now() - self.began)
        self.used_device_seconds += gone * self.devices
        self.used_wall_seconds += gone
        self.used_dollars += gone * (self.dollars_per_hour or 0.0) / 3600
        self.began += gone
        self.devices, self.dollars_per_hour = devices, dollars_per_hour

    def limit_seconds(self) -> float:
        """Wall seconds that are allowed from ``began`` on; infinite without a budget."""
        budget, limits = self.budget, [math.inf]
        if budget.device_hours:
            limits.append(_lasts(3600 * budget.device_hours - self.used_device_seconds, self.devices))
        if budget.wall_hours:
            limits.append(3600 * budget.wall_hours - self.used_wall_seconds)
        if budget.dollars and self.dollars_per_hour is not None:
            limits.append(3600 * _lasts(budget.dollars - self.used_dollars, self.dollars_per_hour))
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
        devices = max(self.devices, self.per_trial)  # without any, nothing is answered until there are some
        return max(self.budget.reserve * limit, math.ceil(num_answers * self.per_trial / devices) * measured)


def rates(resources: Resources, by_type: Mapping[str, int]) -> tuple[float, float | None]:
    """What so many workers by type of device hold: devices, and dollars per hour where there is a price."""
    devices = {kind: resources.devices_per_worker * count for kind, count in by_type.items()}
    return math.fsum(devices.values()), hourly_dollars(resources.dollars_per_device_hour, devices)


def _lasts(left: float, rate: float) -> float:
    """How long something lasts that is used at a ``rate``: while nothing is held, for ever."""
    if rate:
        return left / rate
    return math.inf if left > 0 else 0.0
