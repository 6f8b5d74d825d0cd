"""The command itself: its help and its version."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="raggrid",
    help="Find the cheapest good way to fine-tune your retrieval-augmented generation (RAG) pipeline.\n\n"
    "raggrid runs the fine-tuning strategies with their learning-rate searches on Ray, measures what each costs "
    "and how well its pipeline answers, and says which pipeline to deploy and which strategy is worth its cost next "
    "time.\n\n"
    "Start with\n\n"
    "- `raggrid demo runs/world`\n"
    "- `raggrid init runs/world --embedder MODEL --generator MODEL -o my.yaml`\n"
    "- `raggrid search my.yaml --run runs/my`",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # reflows the paragraphs of a docstring to the width of the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"raggrid {version('raggrid')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass
