"""The verb that makes a first search space from data and two models: init."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import print_json, said_as_options
from raggrid.errors import InputError


@app.command()
def init(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Folder with your data, or hub:NAME[@REVISION].")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Embedder: a hub name, a folder, or package:NAME/PATH.")
    ] = None,
    generator: Annotated[str | None, typer.Option(metavar="MODEL", help="Generator, named in the same ways.")] = None,
    hours: Annotated[float, typer.Option(metavar="HOURS", help="Wall time that the study may take.")] = 8.0,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Search space to write.")] = Path(
        "my.yaml"
    ),
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of a worker, such as A10 or H100. Default: this machine's."),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of devices. Default: this machine's.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of search spaces, for editors, and nothing else.")
    ] = False,
) -> None:
    """Look at data and two models, and write a commented search space that runs.

    Lengths come from the data, batches from the device's memory, steps and numbers of questions from the cost model and
    the hours that the study may take. Each choice is written into the file with its reason. Nothing is trained, and an
    existing file is not overwritten.
    """
    if schema:
        from raggrid.space.commented import json_schema

        print_json(json_schema())
        return
    if data is None or embedder is None or generator is None:
        raise InputError("init: got no data or no models; expected DATA, --embedder and --generator. Add them.")
    if output.exists():
        raise InputError(f"{output}: exists already; expected a new file. Choose another one with --output.")
    with said_as_options("hours", "device"):
        found = raggrid.first_space(
            data, embedder, generator, name=output.stem, hours=hours, device=device, num_devices=devices, say=_say
        )
    _write(output, found.text)
    tell, settings = _printer(), found.space.model_dump(mode="json")
    for sentence in found.about:
        tell(sentence)
    for key, reason in found.reasons.items():
        tell(f"{key}: {_value(settings, key)}  {reason}")
    tell(f"\nWritten: {output}. Next: raggrid plan {output}")


def _printer() -> Callable[[str], None]:
    """Prints a paragraph, wrapped between words on a terminal."""
    from raggrid.show.layout import console

    return partial(console().print, markup=False, highlight=False)


def _value(settings: Mapping[str, Any], key: str) -> str:
    """What the space has at a dotted key, shortened."""
    value = json.dumps(reduce(getitem, key.split("."), settings))
    return value if len(value) <= 60 else f"{value[:57]}..."


def _write(path: Path, text: str) -> None:
    from raggrid.store.local import LocalFiles

    try:
        LocalFiles(path.parent).write(path.name, text.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another path.") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
