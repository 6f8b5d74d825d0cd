"""The verb that serves an exported pipeline over HTTP: serve."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from raggrid.cli.app import app


@app.command()
def serve(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of raggrid export.")],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on. Default: this machine alone reaches it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on.")] = 8000,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="QUESTIONS", help="Questions answered at once. Default: as in the evaluation."),
    ] = None,
    max_waiting: Annotated[
        int, typer.Option(min=1, metavar="QUESTIONS", help="Questions that may wait; further ones are refused.")
    ] = 256,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Longest time until an answer, waiting included.")
    ] = 120.0,
) -> None:
    """Serve an exported pipeline over HTTP.

    POST /v1/chat/completions is OpenAI's chat route, streaming included: the last message of the user is the question,
    and answers are those of `raggrid ask`. POST /retrieve finds passages. GET / is a page to try it, /health and
    /metrics are for monitoring. Concurrent questions are answered in batches.

    Needs `pip install 'raggrid[serve]'`. There is no password: leave it on this machine, or put a proxy in front.
    """
    from rich.console import Console

    from raggrid.serve.http_server import run_server
    from raggrid.serve.limits import Limits
    from raggrid.worker.process import WORKER_SETTINGS

    for name, value in WORKER_SETTINGS.items():
        os.environ.setdefault(name, value)
    say = partial(Console(soft_wrap=True).print, highlight=False, markup=False)
    limits = Limits(max_waiting=max_waiting, answer_seconds=max_seconds)
    run_server(folder, host=host, port=port, max_batch=max_batch, limits=limits, say=say)
