"""The verb that uploads an exported pipeline: push."""

from __future__ import annotations

from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import said_as_options


@app.command()
def push(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of raggrid export.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Model repository, OWNER/NAME; made if missing.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it. Default: private.")] = False,
) -> None:
    """Upload an exported pipeline to the Hugging Face hub, as a private repository unless --public is given.

    All of the folder is uploaded, the passages and the evaluated questions included. The token is the one that
    `hf auth login` keeps, or HF_TOKEN.
    """
    with said_as_options("public"):
        print(raggrid.push_export(folder, repository, public=public, say=print))
