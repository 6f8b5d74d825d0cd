"""An S3 server on loopback, for tests: one that works, or one that fails and stalls now and then, as S3 does."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.server import ThreadedMotoServer
from pyarrow import fs

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
ERRORS = (("500 Internal Server Error", "InternalError"), ("503 Slow Down", "SlowDown"))


@dataclass
class Trouble:
    """Shares of the requests that fail, or that are answered ``stall_seconds`` late; ``met`` counts what happened.

    Half of the requests that fail have been carried out all the same: only their answer is lost. ``heard`` is called
    with each request before anything is done about it.
    """

    failures: float = 0.0
    stalls: float = 0.0
    stall_seconds: float = 8.0
    seed: int = 0
    met: Counter[str] = field(default_factory=Counter)
    heard: Callable[[WSGIEnvironment], None] = lambda _: None


class _Troubled:
    """An application with trouble in front of it."""

    def __init__(self, application: WSGIApplication, trouble: Trouble) -> None:
        self.application, self.trouble = application, trouble
        self.rng, self.lock = Random(trouble.seed), Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self.lock:
            fails, stalls = self.rng.random() < self.trouble.failures, self.rng.random() < self.trouble.stalls
            carried_out, error = self.rng.random() < 0.5, self.rng.choice(ERRORS)
            self.trouble.met.update(requests=1, failed=fails, stalled=stalls)
        self.trouble.heard(environ)
        if stalls:
            time.sleep(self.trouble.stall_seconds)
        if not fails:
            return self.application(environ, start_response)
        if carried_out:
            list(self.application(environ, lambda *_: lambda _: None))
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return _refused(environ, start_response, *error)


def _refused(environ: WSGIEnvironment, start_response: StartResponse, status: str, code: str) -> list[bytes]:
    body = f"<Error><Code>{code}</Code><Message>Please try again.</Message></Error>".encode()
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def s3_server(bucket: str, trouble: Trouble | None = None) -> Iterator[str]:
    """Its endpoint, once it has an empty bucket; from then on it has ``trouble``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        fs.S3FileSystem(
            endpoint_override=endpoint, access_key="testing", secret_key="testing", allow_bucket_creation=True
        ).create_dir(bucket)
        if trouble:
            assert server._server
            server._server.app = _Troubled(server._server.app, trouble)
        yield endpoint
    finally:
        server.stop()
