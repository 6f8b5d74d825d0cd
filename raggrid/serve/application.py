"""The routes: chat completions, retrieval, the page, health and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from raggrid.export.ask_export import opened
from raggrid.export.cores import batches_at_once
from raggrid.export.load import TunedPipeline
from raggrid.serve.batching import Batcher
from raggrid.serve.counters import Metrics
from raggrid.serve.limits import BodyLimits, Limits, error_body
from raggrid.serve.messages import ChatRequest, Chunks, RetrieveRequest, completion, shown
from raggrid.serve.pending import Busy, Pending, Reply

PAGE = Path(__file__).parent / "page.html"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def application(
    pipeline: TunedPipeline | Path | str, *, limits: Limits | None = None, max_batch: int | None = None,
    hosts: tuple[str, ...] = (*LOOPBACK, "testserver"),
) -> FastAPI:  # fmt: skip
    """The ASGI application of an exported pipeline.

    Args:
        pipeline: loaded, or the folder of it.
        limits: of requests; by default those of `Limits`.
        max_batch: questions that are answered at once; by default as many as in the evaluation.
        hosts: names that requests may call this server by; ``*`` for any.

    Raises:
        RecordError: the folder was not written by `raggrid export`.
    """
    tuned = pipeline if isinstance(pipeline, TunedPipeline) else opened(pipeline)
    service = Service(tuned, limits or Limits(), max_batch or int(tuned.how["batch_size"]))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close)

    app = FastAPI(title="raggrid", lifespan=life, docs_url=None, redoc_url=None)
    _add_routes(app, service)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(BodyLimits, limits=service.limits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.middleware("http")(service.metrics.counted)
    return app


class Service:
    """A loaded pipeline behind a queue, with its limits and what is counted about it."""

    def __init__(self, pipeline: TunedPipeline, limits: Limits, max_batch: int) -> None:
        self.pipeline, self.limits, self.metrics = pipeline, limits, Metrics()
        self.name = f"{pipeline.how['study']}-{pipeline.how['strategy']}"
        self.batcher = Batcher(
            pipeline, max_batch=max_batch, max_waiting=limits.max_waiting, num_batches=batches_at_once(pipeline),
            observe=self.metrics.batch.observe,
        )  # fmt: skip
        self.metrics.watch(lambda: self.batcher.waiting)

    def submit(self, job: Pending) -> asyncio.Future[Reply]:
        """Queue a question. Raises an HTTP 400, 413 or 503."""
        if not job.question:
            raise HTTPException(400, "the question is empty: messages need one of the user with text")
        if len(job.question) > self.limits.question_characters:
            raise HTTPException(413, f"the question is longer than {self.limits.question_characters:,} characters")
        try:
            return asyncio.wrap_future(self.batcher.submit(job))
        except Busy:
            raise HTTPException(503, "too many questions are waiting: try again", {"Retry-After": "5"}) from None

    async def reply(self, job: Pending) -> Reply:
        """The reply to a question. Raises an HTTP 504 where it takes too long; it is then not answered any more."""
        try:
            return await asyncio.wait_for(self.submit(job), self.limits.answer_seconds)
        except TimeoutError:
            raise HTTPException(504, f"no answer within {self.limits.answer_seconds:g} seconds") from None

    async def events(self, job: Pending, texts: asyncio.Queue[str], done: asyncio.Future[Reply]) -> AsyncIterator[str]:
        """The events of a streamed completion as they come."""
        chunks = Chunks(self.name)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                while not done.done():
                    waiting = asyncio.ensure_future(texts.get())
                    either: set[asyncio.Future[Any]] = {waiting, done}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if waiting.done() and (event := chunks.piece(waiting.result())):
                        yield event
                    waiting.cancel()
                yield chunks.last(done.result())
        except Exception as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else "the answer failed"
            yield f"data: {json.dumps(error_body(500, why))}\n\n"
        finally:
            job.done.cancel()  # the client may have left


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: ChatRequest) -> Response:
        limit = request.max_completion_tokens or request.max_tokens
        job = Pending(request.question, max_tokens=limit)
        if not request.stream:
            return JSONResponse(completion(service.name, await service.reply(job)))
        texts, loop = asyncio.Queue[str](), asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(texts.put_nowait, text)

        job.told = tell
        events = service.events(job, texts, service.submit(job))
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.post("/retrieve")
    async def retrieve(request: RetrieveRequest) -> dict[str, Any]:
        k = min(request.k or int(service.pipeline.how["k"]), service.limits.max_passages)
        return {"passages": shown(await service.reply(Pending(request.question.strip(), k=k)))}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": service.name, "object": "model", "owned_by": "raggrid"}]}

    @app.get("/health")
    async def health() -> JSONResponse:
        alive = service.batcher.is_alive
        about = {"status": "ok" if alive else "failed", "model": service.name, "waiting": service.batcher.waiting}
        return JSONResponse(about, status_code=200 if alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8").replace("{{name}}", service.name))


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return JSONResponse(error_body(400, f"{where or 'body'}: {first['msg']}"), status_code=400)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.status_code, error.detail), error.status_code, dict(error.headers or {}))
