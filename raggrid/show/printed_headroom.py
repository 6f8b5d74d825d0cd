"""Where points are lost, as text: at the end of a study, and while it runs, before the expensive phases begin."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from raggrid.analysis.headroom.recorded_headroom import headroom_before_tuning
from raggrid.store.files import Location
from raggrid.study.events import Event, TaskEnded
from raggrid.study.tasks import AnswerTask


def show_headroom(sentences: Sequence[str], out: Console) -> None:
    """The first sentence says what the others are about."""
    for place, sentence in enumerate(sentences):
        out.print(Padding(Text(sentence), (0, 0, 0, 4 if place else 2), expand=False), highlight=False)


class EarlyHeadroom:
    """Observes a study and prints its headroom, once, when the un-tuned pipelines have answered validation."""

    def __init__(self, run: Location, console: Console) -> None:
        self.run, self.console, self.told = run, console, False

    def __call__(self, event: Event) -> None:
        """Look at the records where the last un-tuned answering may have ended."""
        if self.told or not isinstance(event, TaskEnded) or not _is_untuned(event):
            return
        found = headroom_before_tuning(self.run)
        if found:
            show_headroom(found.sentences, self.console)
            self.told = True


def _is_untuned(event: TaskEnded) -> bool:
    task = event.task
    if not isinstance(task, AnswerTask) or task.split != "validation":
        return False
    return task.embedder_trial_id is None and task.generator_trial_id is None
