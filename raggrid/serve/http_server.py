"""An exported pipeline on a port of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raggrid.errors import InputError
from raggrid.serve.limits import Limits

NEEDED = "serve: got no fastapi and uvicorn; expected both. Install them: pip install 'raggrid[serve]'."


def run_server(
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_batch: int | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve an exported pipeline until it is interrupted.

    Args:
        folder: of `raggrid export`.
        host: the address to listen on; by default only this machine reaches it.
        port: the port to listen on.
        max_batch: questions that are answered at once; by default as many as in the evaluation.
        limits: of requests.
        say: called with each sentence that a person should see.

    Raises:
        InputError: fastapi or uvicorn is not installed.
        RecordError: the folder was not written by `raggrid export`.
    """
    try:
        import uvicorn

        from raggrid.serve.application import LOOPBACK, application
    except ImportError:
        raise InputError(NEEDED) from None
    local = host in LOOPBACK
    app = application(folder, limits=limits, max_batch=max_batch, hosts=LOOPBACK if local else ("*",))
    if not local:
        say("Warning: reachable from other machines, without a password.")
    say(f"Serving on http://{host}:{port}: a page, /v1/chat/completions, /retrieve, /health, /metrics. Ctrl-C ends it.")
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_keep_alive=10, timeout_graceful_shutdown=5)
