"""A search as the cell of a notebook shows it: the table of a terminal, redrawn in place."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

from rich.console import Console

from raggrid.show.live import Board, drawn
from raggrid.study import events
from raggrid.study.events import Event

SECONDS = 0.5  # between two drawings: each is sent to the browser whole
ROWS, WIDTH = 30, 100
HTML = '<pre style="line-height: 1.25; font-family: ui-monospace, monospace">{code}</pre>'


class NotebookScreen:
    """Observes a study and shows it below the cell that runs it. An interrupt of the kernel is the search's Ctrl-C."""

    def __init__(self) -> None:
        self.board, self.name = Board(), ""
        self.handle: Any = None
        self.shown_at = 0.0

    def __call__(self, event: Event) -> None:
        """Take in what has happened; draw it, unless that was done just now."""
        self.board.take(event)
        if isinstance(event, events.StudyStarted):
            self.name = event.study
        is_end = isinstance(event, events.StudyEnded)
        if is_end or time.monotonic() - self.shown_at > SECONDS:
            self._show()

    def _show(self) -> None:
        from IPython.display import display

        self.shown_at = time.monotonic()
        bundle = self._bundle()
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)

    def _bundle(self) -> dict[str, str]:
        """The table as HTML in the colours of a terminal, and as text."""
        console = Console(file=StringIO(), record=True, width=WIDTH, force_terminal=True, force_jupyter=False)
        console.print(drawn(self.board, f"raggrid search: {self.name}", ROWS))
        html = console.export_html(inline_styles=True, code_format=HTML, clear=False)
        return {"text/html": html, "text/plain": console.export_text()}
