"""A connection to Ray's job server, and a job's output read through it to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from raggrid.backend.ray.addresses import has_token, job_server
from raggrid.errors import StudyError

RUNNING = ("pending", "running")
POLL_SECONDS = 0.5
LOST_SECONDS = 120.0  # without an answer, after which a cluster counts as gone


@contextmanager
def _address_as_given() -> Iterator[None]:
    """Ray's own variables would replace an address that was given."""
    hidden = {name: os.environ.pop(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def connect(address: str) -> Any:
    """A client of the job server at an address.

    Raises:
        InputError: an address of another kind.
        StudyError: nothing answers there, or not without a token.
    """
    server = job_server(address)
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported; a server without one ignores it
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with _address_as_given():
            return JobSubmissionClient(server)
    except AuthenticationError:
        raise StudyError(
            f"--address {address}: requires a token, and none or another one is here. Set RAY_AUTH_TOKEN to that of "
            "the cluster, or save it as ~/.ray/auth_token."
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"--address {address}: no job server answers there ({short(error)}). It is part of the head's dashboard: "
            "check host and port, or open a tunnel with 'ssh -L 8265:127.0.0.1:8265 HEAD' or 'ray dashboard'."
        ) from None


def followed(client: Any, name: str, address: str) -> Iterator[str]:
    """A job's output, in pieces, until it ends. A connection that breaks is made anew; nothing is shown twice.

    Raises:
        StudyError: the job server has not answered for `LOST_SECONDS`.
    """
    shown, heard = 0, time.monotonic()
    while True:
        position = 0
        try:
            for piece in _pieces(client, name):
                new, heard = piece[max(0, shown - position) :], time.monotonic()
                position += len(piece)
                shown = max(shown, position)
                if new:
                    yield new
            if status_of(client.get_job_info(name)) not in RUNNING:
                yield client.get_job_logs(name)[shown:]
                return
            heard = time.monotonic()
        except (RuntimeError, OSError) as error:
            if time.monotonic() - heard > LOST_SECONDS:
                raise StudyError(
                    f"--address {address}: no answer for {LOST_SECONDS:g} s ({short(error)}). If the head is lost, "
                    "start the cluster again; the same submit continues the study."
                ) from None
        time.sleep(POLL_SECONDS)


def status_of(found: Any) -> str:
    """Of a job as Ray tells it: pending, running, succeeded, failed or stopped."""
    return str(getattr(found.status, "value", found.status)).lower()


def _pieces(client: Any, name: str) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    stream = client.tail_job_logs(name)
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(stream))
            except StopAsyncIteration:
                return
    finally:
        with suppress(RuntimeError):
            loop.run_until_complete(stream.aclose())
        loop.close()


def short(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300]
