"""The verb that shows a study that runs elsewhere: watch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Json, print_json


@app.command()
def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search; s3://... too.")],
    web: Annotated[bool, typer.Option("--web", help="Serve a live page on this machine instead.")] = False,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of the page; 0 for a free one.")
    ] = 8266,
    once: Annotated[bool, typer.Option("--once", help="Show the study as it stands, and end.")] = False,
    plain: Annotated[bool, typer.Option(help="Print one line per measurement instead of a live table.")] = False,
    as_json: Json = False,
) -> None:
    """Show a study as it runs, from another terminal or another machine.

    Reads the records alone: Ctrl-C ends the watching and leaves the study as it is. Shows each trial, what was spent,
    the time left, and the best so far; --json prints that once, for programs.

    --web serves a page with the curves and the recommendation so far, for this machine only; from another one, use a
    tunnel: ssh -L 8266:localhost:8266 HOST.
    """
    from raggrid.watching.reader import StudyReader

    reader = StudyReader(run)
    if as_json:
        print_json(reader.read().to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.watched import show_once, watch_live, watch_plain

    out = console()
    try:
        if web:
            from raggrid.live_view.server import serve

            serve(reader, port, lambda text: out.print(text, highlight=False))
        elif once:
            show_once(reader.read(), out)
        elif plain or not sys.stdout.isatty():
            watch_plain(reader, out)
        else:
            watch_live(reader, out)
    except KeyboardInterrupt:
        sys.exit(130)
