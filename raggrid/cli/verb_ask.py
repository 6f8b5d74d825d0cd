"""The verb that asks an exported pipeline, or all pipelines of a study: ask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Json, print_json
from raggrid.errors import InputError


@app.command()
def ask(
    place: Annotated[str, typer.Argument(metavar="DIR", help="Folder of raggrid export; a run with --compare.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="The question.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Questions instead of one: one per line, or JSON lines with a question."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="DIR is a run directory: show the answer of every strategy.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask an exported pipeline; print its answer and the passages that it read, with their scores.

    With --compare, ask every strategy's pipeline of a study the same question.
    """
    if (question is None) == (file is None) or (compare and question is None):
        wanted = "a QUESTION" if compare else "a QUESTION or a --file"
        raise InputError(f"ask: got {'both' if question and file else 'neither'}; expected {wanted}. Give one.")
    from raggrid.worker.process import WORKER_SETTINGS

    for name, value in WORKER_SETTINGS.items():
        os.environ.setdefault(name, value)
    from raggrid.export import ask_export
    from raggrid.show.layout import console
    from raggrid.show.printed_answers import show_answers, show_compared

    asked = ask_export.questions_of(file) if file else [question or ""]
    found = ask_export.compare(place, asked[0]) if compare else ask_export.ask(place, asked)
    gone = ask_export.left_out(place) if compare else []
    if as_json:
        print_json({"answers": [each.to_json() for each in found], "left_out": gone})
    elif compare:
        show_compared(found, gone, console())
    else:
        show_answers(found, console())
