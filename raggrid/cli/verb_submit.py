"""The verb that hands a study to a cluster: submit."""

from __future__ import annotations

import sys
from typing import Annotated, TextIO

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import (
    DeviceHours,
    Dollars,
    Json,
    Override,
    PriceOption,
    Space,
    WallHours,
    budget_options,
    print_json,
)
from raggrid.errors import StudyInterrupted

Server = Annotated[
    str,
    typer.Option(
        metavar="URL", envvar="RAY_API_SERVER_ADDRESS", show_envvar=True,
        help="Job server of the cluster: http://HEAD:8265.",
    ),
]  # fmt: skip


@app.command()
def submit(
    space: Space,
    run: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Run directory: s3://BUCKET/FOLDER, or an absolute path that all nodes share."
        ),
    ],
    address: Server,
    set_: Override = None,
    extend: Annotated[bool, typer.Option(help="As of search: run only what is new in SPACE.")] = False,
    device_hours: DeviceHours = None,
    wall_hours: WallHours = None,
    dollars: Dollars = None,
    price: PriceOption = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="Environment variable of the study; no secrets. Repeatable."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Print what it prints until it ends, and exit with its code.")] = False,
    as_json: Json = False,
) -> None:
    """Hand a study to a Ray cluster as a job: it goes on when this machine disconnects.

    The space is sent with the data, models and metrics that lie here, up to 100 MB; larger ones must be on every node.
    The same command continues a study that was interrupted. One study at a time runs in a run directory.

    Secrets are never sent: a job's environment can be read in the dashboard. Give the nodes a role, or set them there.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space. --dollars needs
    one of them, for each type of device of the cluster.

    ``raggrid status``, ``logs`` and ``stop`` look after submitted studies. Ctrl-C ends --follow, not the study.
    """
    limits = budget_options(price, device_hours=device_hours, wall_hours=wall_hours, dollars=dollars)
    raggrid.load_space(space, set_ or [], limits)
    job = raggrid.submit(
        space, run, address=address, overrides=[*(set_ or []), *limits.values()], extend=extend, environment=env or [],
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    if as_json:
        print_json(job.to_json())
    else:
        print(f"Submitted: {job.name}\n  raggrid logs {job.name} --address {address} --follow", flush=True)
    if follow:
        follow_to_end(address, job.name, to=sys.stderr if as_json else sys.stdout)


def follow_to_end(address: str, which: str | None, to: TextIO | None = None) -> None:
    """Print a study's output until it ends; then exit with its code."""
    name = which or ""
    try:
        name = raggrid.find_job(address, which).name
        for piece in raggrid.job_logs(address, name, follow=True):
            print(piece, end="", file=to or sys.stdout, flush=True)
        ended = raggrid.find_job(address, name)
    except KeyboardInterrupt:
        raise StudyInterrupted(
            f"{name or 'The study'}: goes on. 'raggrid logs {name} --address {address} --follow' follows it again; "
            f"'raggrid stop {name} --address {address}' ends it."
        ) from None
    if ended.shell_code:
        print(f"{name}: {ended.status}. {ended.message}", file=sys.stderr)
        raise typer.Exit(ended.shell_code)
