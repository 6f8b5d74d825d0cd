"""The verbs that take a study's tuned pipeline out: as a folder, and to the hub: export, push."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.judging import MetricOption
from raggrid.cli.options import Json, print_json, said_as_options


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new or empty folder.")],
    strategy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose best pipeline. Default: the one that recommend says to deploy."),
    ] = None,
    metric: MetricOption = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write merged float32 weights also of a study in bfloat16.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Answer the evaluated questions again and compare the texts.")
    ] = True,
    engine: Annotated[
        Literal["transformers", "vllm"], typer.Option(help="What answers in the check.")
    ] = "transformers",
    as_json: Json = False,
) -> None:
    """Write a study's tuned pipeline as a folder that the stock libraries load.

    It holds the embedder for sentence-transformers, the generator for transformers and peft, the index for faiss, the
    passages, a model card with the study's numbers, and load.py with `answer` and `retrieve`, which need no raggrid.

    Then a process that cannot import raggrid loads the folder and answers the evaluated questions again. How many
    answers differ from the recorded ones, and by how much the scores move, stands on the screen and in the card.
    With --engine vllm the exported generator answers them in vLLM, on this machine.
    """
    from rich.console import Console

    from raggrid.worker.process import WORKER_SETTINGS

    for name, value in WORKER_SETTINGS.items():
        os.environ.setdefault(name, value)
    out = Console(soft_wrap=True, stderr=as_json)
    command = shlex.join(["raggrid", *sys.argv[1:]])
    with said_as_options("strategy", "output", "metric"):
        made = raggrid.write_export(
            run, output, strategy=strategy, metric=metric, merged=merged, check=check, engine=engine,
            command=command,
            say=partial(out.print, highlight=False, markup=False),
        )  # fmt: skip
    if as_json:
        print_json(made.to_json())
        return
    print(f"Written: {output}\nNext: raggrid ask {output} 'your question', or raggrid serve {output}")


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
