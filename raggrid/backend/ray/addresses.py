"""Which address of a cluster serves what: the job server takes studies from outside, a search joins from inside."""

from __future__ import annotations

import os
from pathlib import Path

from raggrid.errors import InputError

CLIENT = "ray://"
JOB_SERVER_PORT = 8265  # Ray's default for its dashboard, which serves jobs too
WEB = ("http://", "https://")


def job_server(address: str) -> str:
    """The address of a job server, without a slash at its end.

    Raises:
        InputError: an address of another kind, with the one that is expected.
    """
    if address.startswith(WEB):
        return address.rstrip("/")
    host = address.removeprefix(CLIENT).partition(":")[0] or "HEAD"
    host = "127.0.0.1" if host == "auto" else host
    kind = "the address of Ray Client" if address.startswith(CLIENT) else "not an address of a job server"
    raise InputError(
        f"--address {address}: {kind}; expected http://HOST:PORT. Jobs are taken by the dashboard of the head node, "
        f"usually http://{host}:{JOB_SERVER_PORT}."
    )


def check_joinable(address: str | None) -> None:
    """Refuse the addresses that a search cannot join a cluster by.

    Raises:
        InputError: with what to use instead.
    """
    if address is None or not address.startswith((CLIENT, *WEB)):
        return
    host = address.partition("://")[2].partition(":")[0].partition("/")[0] or "HEAD"
    kind = "Ray Client, which cannot carry a search" if address.startswith(CLIENT) else "a job server"
    server = address.rstrip("/") if address.startswith(WEB) else f"http://{host}:{JOB_SERVER_PORT}"
    raise InputError(
        f"--address {address}: got the address of {kind}; expected HOST:PORT of a cluster that this machine is part "
        f"of, or auto. From outside, use 'raggrid submit SPACE --address {server} --run RUN'."
    )


def has_token() -> bool:
    """Whether this user has a Ray authentication token, in a variable or in a file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").is_file()
