"""The verbs: parse, call one function, print. Heavy imports are deferred until a verb needs them."""

from __future__ import annotations

import sys

# They register their verbs; help lists them in this order.
from raggrid.cli import (  # noqa: F401  # isort: skip
    verb_demo,
    verb_plan,
    verb_train,
    verb_search,
    verb_watch,
    verb_track,
    verb_recommend,
    verb_frontier,
    verb_report,
    verb_simulate,
    verb_import,
    verb_submit,
    verb_jobs,
    verb_doctor,
    verb_export,
    verb_ask,
    verb_serve,
)  # fmt: skip
from raggrid.cli.app import app
from raggrid.errors import RaggridError


def main() -> None:
    """The command. An error that raggrid raises on purpose is printed as its message; its exit code is returned."""
    try:
        app()
    except RaggridError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
