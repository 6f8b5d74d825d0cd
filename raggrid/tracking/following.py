"""A study's records -> its trackers, once or again and again while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from raggrid.errors import RaggridError
from raggrid.records import Status, StepRecord
from raggrid.store.files import Location
from raggrid.tracking.tracked_trials import TrackedTrial, run_mark, tracked_trials
from raggrid.tracking.trackers import Known, Tracker, open_tracker
from raggrid.watching.reader import StudyReader
from raggrid.watching.snapshot import Snapshot

SECONDS = 5.0  # between two looks at the records
LAST_SECONDS = 120.0  # that the end of a search waits for a slow server


@dataclass
class Follower:
    """Keeps one tracker up to date with a study. ``states``: of each trial, its status and points as last written."""

    reader: StudyReader
    tracker: Tracker
    has: dict[str, Known] = field(default_factory=dict)
    states: dict[str, tuple[Status, int]] = field(default_factory=dict)

    def look(self) -> Snapshot:
        """Write what is new in the records; returns the study as it was read."""
        seen = self.reader.read()
        for trial in tracked_trials(seen, self.reader.run.read(StepRecord), run_mark(self.reader.run.files)):
            self._take(trial)
        return seen

    def _take(self, trial: TrackedTrial) -> None:
        state = trial.status, len(trial.points)
        if self.states.get(trial.name) == state:
            return
        if trial.name not in self.has:
            self.has[trial.name] = self.tracker.known(trial)
        known = self.has[trial.name]
        self.tracker.write(trial, [point for point in trial.points if (point.name, point.step) not in known])
        known.update((point.name, point.step) for point in trial.points)
        self.states[trial.name] = state


def track(run: Location, target: str) -> int:
    """Write all trials of a study into a tracker, as far as they are recorded by now and not there yet.

    Args:
        run: its run directory, finished or not.
        target: ``tensorboard:DIR``, ``mlflow:URI``, ``wandb:PROJECT`` or ``trackio:PROJECT``.

    Returns:
        The number of trials.

    Raises:
        InputError: an unknown tracker, or one whose library is not installed.
        RecordError: ``run`` is not the run directory of a search.
    """
    follower = Follower(StudyReader(run), open_tracker(target))
    try:
        follower.look()
    finally:
        follower.tracker.close()
    return len(follower.states)


@contextmanager
def tracked(run: Location, targets: Sequence[str]) -> Iterator[None]:
    """Keep trackers up to date, each in a thread of its own, until the end of the block and all that it wrote.

    A tracker that fails is left alone, and why is printed: a study does not depend on it, and `track` can write it
    again later.
    """
    over = threading.Event()
    threads = [threading.Thread(target=_follow, args=(run, target, over), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(LAST_SECONDS)


def _follow(run: Location, target: str, over: threading.Event) -> None:
    try:
        follower = Follower(StudyReader(run), open_tracker(target))
        try:
            while not over.wait(SECONDS):
                follower.look()
            follower.look()
        finally:
            follower.tracker.close()
    except Exception as error:  # of any of four libraries
        told = " ".join(str(error).split())
        name = "" if isinstance(error, RaggridError) else f"{type(error).__name__}: "
        print(
            f"tracking {target}: {name}{told[:400]}. The study goes on without it; 'raggrid track {run} --to {target}' "
            "writes it later.",
            file=sys.stderr,
        )
