"""The verbs: parse, call one function, print. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import sys

from raggrid.cli import (  # noqa: F401  (they register their verbs)
    importing,
    planning,
    reading,
    reporting,
    running,
    simulating,
)
from raggrid.cli.app import app
from raggrid.errors import RaggridError


def main() -> None:
    """The command. Errors that raggrid raises on purpose end as their message and exit code."""
    try:
        app()
    except RaggridError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
