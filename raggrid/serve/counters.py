"""What a server counts about itself, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SIZES = (1, 2, 4, 8, 16, 32, 64)
UNKNOWN = "other"  # paths that nobody serves share one label: their number is not ours to limit


class Metrics:
    """Requests, their time, batches and what waits, in a registry of its own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter("raggrid_requests", "Requests answered.", ["path", "status"], registry=own)
        self.seconds = Histogram("raggrid_request_seconds", "Time until a response began.", ["path"], registry=own)
        self.batch = Histogram("raggrid_batch_questions", "Questions answered at once.", buckets=SIZES, registry=own)

    def watch(self, waiting: Callable[[], float]) -> None:
        """Show how many questions wait."""
        Gauge("raggrid_waiting", "Questions not under way yet.", registry=self.registry).set_function(waiting)

    async def counted(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Middleware."""
        started = time.perf_counter()
        response = await go_on(request)
        route = request.scope.get("route")
        path = getattr(route, "path", UNKNOWN)
        self.requests.labels(path, str(response.status_code)).inc()
        self.seconds.labels(path).observe(time.perf_counter() - started)
        return response

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
