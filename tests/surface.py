"""What users and their programs rely on, as text: verbs and options, columns, Python names, settings, keys of JSON.

    python -m tests.surface

writes tests/assets/surface/ anew. All of it is public: add to it, never rename or remove.
"""

from __future__ import annotations

import inspect
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

import raggrid
from raggrid.cli.app import app
from raggrid.space.commented import sections
from raggrid.store.tables import TABLES, append, schema
from tests.curves import rows, space, written
from tests.records import made_space
from tests.studies import WINNERS, answers, pipeline_row, prediction_rows, study

# Mappings of JSON whose keys are names: of phases, or of alternatives.
BY_NAME = ("alternatives", "memory_bytes", "peak_bytes", "phases", "ratios")
FOLDER = Path(__file__).parent / "assets" / "surface"


def commands() -> Iterator[str]:
    """Every verb with its arguments and options: names, and the default or that there is none."""
    for verb, command in _verbs(typer.main.get_command(app)):
        for option in command.params:
            argument = option.param_type_name == "argument"
            names = option.metavar if argument else "/".join([*option.opts, *option.secondary_opts])
            yield f"{verb} {names}{': required' if option.required else f' = {option.default}'}"


def _verbs(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each verb by its name, such as plan or data inspect."""
    for name, command in sorted(group.commands.items()):
        inner = hasattr(command, "commands")
        yield from _verbs(command, f"{prefix}{name} ") if inner else [(f"{prefix}{name}", command)]


def tables() -> Iterator[str]:
    """Every column of the run directory's tables with its Arrow type."""
    for record, table in sorted(TABLES.items(), key=lambda item: item[1]):
        for column in schema(record):
            yield f"{table}.{column.name}: {column.type}{'' if column.nullable else ', never null'}"


def names() -> Iterator[str]:
    """Every name of the Python API; of a function, its parameters with their defaults."""
    for name in sorted(raggrid.__all__):
        value = getattr(raggrid, name)
        if inspect.isclass(value):
            yield name
            continue
        bare = [_bare(parameter) for parameter in inspect.signature(value).parameters.values()]
        yield f"{name}{inspect.Signature(bare)}"


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    """Without its type; which function a default is, is left open."""
    shown = ... if inspect.isfunction(parameter.default) else parameter.default
    return parameter.replace(annotation=inspect.Parameter.empty, default=shown)


def settings() -> Iterator[str]:
    """Every key of a search space with its default."""
    for prefix, _, fields in sections():
        yield from (f"{prefix}{name}{_default(field)}" for name, field in fields)


def _default(field: FieldInfo) -> str:
    return ": required" if field.is_required() else f" = {field.get_default(call_default_factory=True)!r}"


def json_keys() -> Iterator[str]:
    """Every key that ``--json`` prints where all is known. ``[]`` stands for a list's items, ``{}`` for a name."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {key for verb, result in _results(Path(scratch)).items() for key in _keys(result.to_json(), verb)}
    inner = {key[:end] for key in found for end, letter in enumerate(key) if letter in ".[{"}
    yield from sorted(found - inner)


def _results(folder: Path) -> dict[str, Any]:
    constant = {"answers": {"who": "Paris"}, "exact_match": 0.0, "f1": 0.0}
    environment = {"data": {"constant_answer": {"test": constant}, "num_questions": {"train": 100}}}
    scores = [answers(0.5, 60, place) for place in range(3)]
    strategies = [*dict.fromkeys(name for name, _ in WINNERS), "closed_book"]
    same = dict.fromkeys(WINNERS, scores)
    run = study(folder / "run", same, environment=environment, contains=True, strategies=strategies)
    for seed, split in itertools.product(range(3), ("validation", "test")):
        row = pipeline_row(("baseline", None), seed, split, scores[seed])
        row = replace(row, pipeline_id=f"control-{seed}", strategy="closed_book", loss="closed_book")
        append(run, [row])
        append(run, prediction_rows(row, scores[seed], None, contains=True))
    table = rows("embedder_labels", "generator_rag", "embedder_rag", "joint_rag")
    # The best pair of joint rates is not that of the searches of one side: the full grid finds another winner.
    best = {"phase": "joint_rag", "embedder_lr": 1e-4, "generator_lr": 1e-3}
    table = [{**row, "objective": 0.5} if best.items() <= row.items() else row for row in table]
    models = {"embedder": "BAAI/bge-base-en-v1.5", "generator": "meta-llama/Llama-3.1-8B-Instruct"}
    return {
        "frontier": raggrid.frontier([run]),
        "plan": raggrid.plan(made_space(models=models), device="H100", price=2.0),
        "recommend": raggrid.recommend([run], have="generator", max_device_hours=100, price=2.0),
        "search bill": raggrid.bill(run),
        "simulate": raggrid.simulate(space(), written(folder / "curves.csv", table)),
    }


def _keys(value: object, prefix: str) -> set[str]:
    if isinstance(value, list | tuple):
        return {f"{prefix}[]"} | {key for item in value for key in _keys(item, f"{prefix}[]")}
    if not isinstance(value, Mapping):
        return {prefix}
    if prefix.rpartition(".")[2] in BY_NAME:
        return {key for inner in value.values() for key in _keys(inner, f"{prefix}{{}}")}
    return {key for name, inner in value.items() for key in _keys(inner, f"{prefix}.{name}")}


SURFACES: Mapping[str, Callable[[], Iterator[str]]] = {
    "commands": commands, "tables": tables, "names": names, "settings": settings, "json_keys": json_keys,
}  # fmt: skip


def text(surface: str) -> str:
    """A surface as it is now, a line per fact."""
    return "".join(f"{line}\n" for line in SURFACES[surface]())


def file(surface: str) -> Path:
    """Where a surface is kept as it was promised."""
    return FOLDER / f"{surface}.txt"


if __name__ == "__main__":
    for surface in SURFACES:
        file(surface).write_text(text(surface), encoding="utf-8")
        print(f"Written: {file(surface)}")
