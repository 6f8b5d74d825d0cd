"""The verbs that look after submitted studies: status, logs, stop."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Json, print_json
from raggrid.cli.verb_submit import Server, follow_to_end

Which = Annotated[
    str | None,
    typer.Argument(metavar="[JOB]", help="Name of a submitted study, or its run directory. Default: the last one."),
]


@app.command()
def status(address: Server, as_json: Json = False) -> None:
    """List the studies that were submitted to a cluster: run directory, status, start, duration, exit code."""
    found = raggrid.jobs(address)
    if as_json:
        print_json({"jobs": [job.to_json() for job in found]})
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_jobs import show_jobs

    show_jobs(found, console())


@app.command()
def logs(
    address: Server,
    job: Which = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the study ends, and exit with its code.")
    ] = False,
) -> None:
    """Print what a submitted study has printed."""
    if follow:
        follow_to_end(address, job)
        return
    for piece in raggrid.job_logs(address, job):
        print(piece, end="")


@app.command()
def stop(address: Server, job: Which = None, as_json: Json = False) -> None:
    """Stop a submitted study as Ctrl-C does. Everything finished is kept; the same submit continues."""
    ended = raggrid.stop_job(address, job)
    if as_json:
        print_json(ended.to_json())
    else:
        print(f"{ended.name}: {ended.status}. {ended.run}")
