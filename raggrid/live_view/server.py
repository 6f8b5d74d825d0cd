"""The live page on loopback: a server that reads records when the page asks, and nothing besides."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from raggrid.errors import InputError, RaggridError
from raggrid.live_view.summary import Advice
from raggrid.live_view.view import charts, view
from raggrid.report.contents import Study, read_study
from raggrid.report.figures import drawing_library
from raggrid.watching.reader import StudyReader
from raggrid.watching.snapshot import Snapshot

HOST = "127.0.0.1"
NAMES = ("localhost", HOST, "[::1]")  # by which a browser may ask: any other name is another site's
FRESH_SECONDS = 1.0  # several pages at once cost no more than one
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Watched:
    """The study as the page last saw it. Any number of threads may ask."""

    def __init__(self, reader: StudyReader) -> None:
        self.reader, self.lock = reader, threading.Lock()
        self.seen: tuple[float, Snapshot] | None = None
        self.advice: Advice[Study] = Advice(lambda: read_study(reader.run.files))

    def state(self, known: str = "") -> dict[str, Any]:
        """All that the page shows; its charts only where they are not those of the ``known`` version."""
        with self.lock:
            now = time.monotonic()
            if self.seen is None or now - self.seen[0] > FRESH_SECONDS:
                self.seen = now, self.reader.read()
            snapshot = self.seen[1]
            judged = self.advice.renew(snapshot)
        shown = view(snapshot, judged)
        return shown if shown["version"] == known else {**shown, "charts": charts(snapshot, judged)}


class Server(ThreadingHTTPServer):
    """Serves one study's page."""

    daemon_threads = True

    def __init__(self, watched: Watched, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.watched = watched

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://localhost:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers GET for the page, its script, its style and the state; nothing else is there."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One request."""
        address = urlsplit(self.path)
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            self._send(403, "text/plain", b"Ask for localhost.\n")
        elif address.path == "/state.json":
            self._state(parse_qs(address.query).get("known", [""])[0])
        elif address.path in PAGES:
            kind, content = PAGES[address.path]
            self._send(200, kind, content())
        else:
            self._send(404, "text/plain", b"Not here.\n")

    def _state(self, known: str) -> None:
        try:
            found: Mapping[str, Any] = self.server.watched.state(known)
        except (
            RaggridError,
            OSError,
        ) as error:  # a record that is half copied, a mount that hangs: the page asks again
            found = {"problem": str(error)}
        self._send(200, "application/json", json.dumps(found, allow_nan=False).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page asks every two seconds."""


@cache
def _file(room: str, name: str) -> bytes:
    return (files(room) / name).read_bytes()


@cache
def _library() -> bytes:
    return drawing_library().encode()


PAGES: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "/": ("text/html", lambda: _file("raggrid.live_view", "live.html")),
    "/live.js": ("text/javascript", lambda: _file("raggrid.live_view", "live.js")),
    "/live.css": ("text/css", lambda: _file("raggrid.report", "page.css") + _file("raggrid.live_view", "live.css")),
    "/vega.js": ("text/javascript", _library),
    "/favicon.ico": ("image/svg+xml", lambda: _file("raggrid.live_view", "icon.svg")),
}


def serve(reader: StudyReader, port: int, say: Callable[[str], None] = lambda _: None) -> None:
    """Serve the live page of a study until Ctrl-C.

    Args:
        reader: of the study.
        port: on this machine alone; 0 for a free one.
        say: called with the sentence that says where the page is.

    Raises:
        InputError: the port is in use.
    """
    try:
        server = Server(Watched(reader), port)
    except OSError as error:
        raise InputError(f"--port: got {port}; {error.strerror}. Choose another, or 0 for a free one.") from None
    threading.Thread(target=_library, daemon=True).start()  # which the first page would wait for
    with server:
        say(f"{reader.run}: watched at {server.url}  (Ctrl-C ends the watching, not the study)")
        server.serve_forever(poll_interval=0.2)
