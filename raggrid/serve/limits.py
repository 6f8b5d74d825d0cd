"""What a request may take: bytes, seconds. Before the application sees it, so that what is wrong costs little."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server."""

    body_bytes: int = 65_536
    """Longest body of a request."""
    body_seconds: float = 10.0
    """Longest time that a body may take to arrive."""
    question_characters: int = 2_000
    """Longest question."""
    answer_seconds: float = 120.0
    """Longest time until an answer, waiting included."""
    max_waiting: int = 256
    """Questions that may wait; further ones are refused."""
    max_passages: int = 100
    """Most passages that a request may ask for."""


class BodyLimits:
    """ASGI middleware: reads a request's body whole, within the limits, and hands it on."""

    def __init__(self, app: Application, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._body(scope, receive), self.limits.body_seconds)
        except TimeoutError:
            await refuse(send, 408, f"the body took longer than {self.limits.body_seconds:g} seconds")
            return
        if body is None:
            await refuse(send, 413, f"the body is longer than {self.limits.body_bytes:,} bytes")
            return
        await self.app(scope, _once(body, receive), send)

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes | None:
        """None for one that is too long; no more of it is read."""
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > self.limits.body_bytes:
            return None
        body, more = b"", True
        while more and len(body) <= self.limits.body_bytes:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            body += message.get("body", b"")
        return body if len(body) <= self.limits.body_bytes else None


def _once(body: bytes, receive: Receive) -> Receive:
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()  # the client's leaving
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


async def refuse(send: Send, status: int, why: str) -> None:
    """Answer a request with an error in OpenAI's form, and close its connection."""
    content = json.dumps(error_body(status, why)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def error_body(status: int, why: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": why, "type": kind, "param": None, "code": status}}
