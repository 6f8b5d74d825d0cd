"""The phase graph as a Tune searcher: hands out tasks as soon as what they depend on is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from raggrid.search.journal import Journal
from raggrid.search.tasks import HandedOut, to_config


class StudySearcher(Searcher):
    """Tune asks it for the next trial and tells it how trials go; the `Journal` decides and remembers."""

    def __init__(self, journal: Journal, cut_short: Mapping[str, str], session_began: float = 0.0) -> None:
        super().__init__()  # no metric: not every task has an objective
        self.journal, self.cut_short, self.session_began = journal, cut_short, session_began
        self.keys: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle: Tune keeps a copy for a restore of its own, which raggrid does not use."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next task as a trial's config; None while all that is left waits for running ones."""
        task = self.journal.take()
        if task is None:
            return Searcher.FINISHED if self.journal.is_done() else None
        self.keys[trial_id] = task.key
        config = to_config(task, str(self.journal.run), self.journal.workers)
        at, released_at = self.journal.started_at[task.key], self.journal.released_at.get(task.key, 0.0)
        return {**config, "handed_out": asdict(HandedOut(at, released_at, self.session_began))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A report of a running trial."""
        self.journal.reported(self.keys[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial's end: by itself, by early stopping, or (``error``) by the death of its process."""
        if result:
            # A stopped trial's last report comes here alone, never through on_trial_result.
            self.journal.reported(self.keys[trial_id], result)
        self.journal.finished(self.keys[trial_id], crashed=error, cut_short=self.cut_short.get(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the run directory is the truth, and a study continues from that."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
