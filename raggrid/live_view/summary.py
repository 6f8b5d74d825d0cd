"""A study that runs, in sentences: how it stands, what it spent, the best so far, and what `recommend` says by now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from raggrid.analysis.recommendation import Recommendation
from raggrid.analysis.units import unit_for
from raggrid.display_names import display_name, label
from raggrid.errors import RaggridError
from raggrid.records import score_of
from raggrid.watching.cells import duration
from raggrid.watching.snapshot import Condition, Snapshot

T = TypeVar("T")
CONDITIONS = {
    Condition.RUNNING: "running",
    Condition.COMPLETE: "complete",
    Condition.SILENT: "no sign of life for {quiet}: its search was killed, or its machine cannot be reached",
    Condition.NOT_RUNNING: "not running; the same raggrid search command continues it",
}


def summary(seen: Snapshot) -> Iterator[str]:
    """The study in three sentences or so: how it stands, what it spent, the best so far."""
    quiet = duration(seen.seen_at - (seen.alive_at or seen.seen_at))
    busy = f", {len(seen.running)} of {seen.slots} slots busy" if seen.slots else ""
    yield f"Study: {CONDITIONS[seen.condition].format(quiet=quiet)}{busy}."
    spent = seen.spent
    unit = unit_for([spent.device_seconds], {row.device_type for row in seen.trials} or {"cpu"})
    money = "" if spent.dollars is None else f", ${spent.dollars:,.2f}"
    budget = "no budget" if spent.budget_share is None else f"{spent.budget_share:.0%} of the budget"
    yield f"Spent: {unit.text(spent.device_seconds)} {unit.name}{money}; {budget}."
    if seen.best is not None:
        metric = seen.space.selection.metric
        score = 100 * (score_of(seen.best, metric) or 0.0)
        name = display_name(seen.best.strategy, seen.best.loss)
        split = f"{seen.best.num_questions} {seen.best.split} questions"
        yield f"Best so far: {name}, {label(metric)} {score:.1f} on {split}."


class Advice(Generic[T]):
    """What the answered pipelines say, worked out anew when there are more of them. That takes seconds: in a thread."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.make, self.found = make, cast("T | None", None)
        self.answers = 0
        self.working: threading.Thread | None = None

    def renew(self, seen: Snapshot) -> T | None:
        """What is known by now: of this snapshot, or of an earlier one while a thread works it out. None before that,
        and where nothing can be said yet."""
        if len(seen.answers) != self.answers and not (self.working and self.working.is_alive()):
            self.answers = len(seen.answers)
            self.working = threading.Thread(target=self._work, daemon=True)
            self.working.start()
        return self.found

    def wait(self) -> T | None:
        """What was asked for last, once it is worked out."""
        if self.working:
            self.working.join()
        return self.found

    def _work(self) -> None:
        try:
            self.found = self.make()
        except RaggridError:  # no strategy is answered yet
            self.found = None


def advice_lines(found: Recommendation | None) -> Iterator[str]:
    """The two answers in a line each."""
    for question, answer in (("Deploy now", found and found.deploy), ("Next time", found and found.recommended)):
        if answer:
            yield f"{question}: {display_name(answer.strategy, answer.loss)} ({answer.grade})."
