"""The pages that are made from the code: every setting, the columns of records, the architecture with its picture.

    python -m docs.generate

writes them anew; a test holds that they are up to date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic.fields import FieldInfo

import raggrid.cli
from docs.picture import picture
from docs.scale import scale_page
from raggrid.cli.app import app
from raggrid.records import Category, Status
from raggrid.space import settings
from raggrid.space.commented import docstrings as docstrings
from raggrid.space.commented import json_schema, sections, template
from raggrid.store.tables import TABLES
from raggrid.strategies import PHASES, RAG_LOSSES
from tests.test_architecture import FORBIDDEN, OWNERS, ROOMS, ROOT, imports, module_of, modules, room

FOLDER = Path(__file__).parent
MADE = "<!-- Made from the code by `python -m docs.generate`: change it there. -->"
API = "raggrid (API)"  # the package itself, a room in the picture

# Settings


def settings_page() -> str:
    """Every setting of a search space in a table per section: key, default, what it does."""
    lines = [
        MADE,
        "# Settings",
        "",
        "Every key of a search space. Set it in the YAML file, or on the command line, such as "
        "`--set training.rag.steps=100`. Keys without a default are required.",
    ]
    for prefix, section, fields in sections():
        told = {name: _plain(text) for name, text in docstrings(section).items()}
        lines += ["", f"## {prefix.rstrip('.') or 'the study'}", "", _plain(section.__doc__ or ""), ""]
        lines += ["| key | default | |", "|---|---|---|"] if fields else []
        lines += [f"| `{prefix}{name}` | {_default(field)} | {_choices(field)}{told[name]} |" for name, field in fields]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Markdown in one line, fit for a table's cell."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is settings.DEFAULT_PROMPT:
        return "the paper's"
    if isinstance(value, float):
        return f"`{value:.4g}`"
    return "none" if value in (None, (), {}) else f"`{list(value) if isinstance(value, tuple) else value}`"


def _choices(field: FieldInfo) -> str:
    """The values to choose from, where the setting is a choice."""
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    return f"One of {', '.join(f'`{choice}`' for choice in choices)}. " if choices else ""


# Architecture


def uses() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    found: dict[str, set[str]] = {}
    for path in modules():
        own = API if path == ROOT / "__init__.py" else room(module_of(path))
        named = {name for name in imports(path) if name.partition(".")[0] == "raggrid"}
        found.setdefault(own, set()).update({API if name == "raggrid" else room(name) for name in named} - {own})
    return {name: used for name, used in found.items() if name != "backend"}


def architecture_page() -> str:
    """The rooms from high to low with their one line each, and the rules that the tests hold."""
    lines = [
        MADE,
        "# Architecture",
        "",
        "Rooms say who decides, who runs, who works and who counts. A file imports from its own room and from lower "
        "ones only; `tests/test_architecture.py` holds this, the owners of the libraries, and what a room must not "
        "know. An arrow means: imports from. Those that follow from others are left out.",
        "",
        "![The rooms and their imports](architecture.svg)",
        "",
        "| room | what it is |",
        "|---|---|",
        *(f"| `{name}` | {one_line(name)} |" for name in reversed(ROOMS)),
        "",
        "| room | must not know |",
        "|---|---|",
        *(f"| `{name}` | {', '.join(f'`{one}`' for one in banned)} |" for name, banned in FORBIDDEN.items()),
        "",
        "| library | imported only by |",
        "|---|---|",
        *(f"| `{name}` | {', '.join(f'`{one}`' for one in owner.split())} |" for name, owner in OWNERS.items()),
    ]
    return "\n".join(lines) + "\n"


def one_line(name: str) -> str:
    """What a room is, in its own words."""
    path = ROOT / name
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


# The run directory

COLUMNS = "<!-- The columns, made from the code by `python -m docs.generate`. -->"
ENDS = list(Status)[list(Status).index(Status.COMPLETED) : list(Status).index(Status.OVER_BUDGET) + 1]
WORDS: Mapping[str, Sequence[str]] = {
    "trials.loss": (*dict.fromkeys(phase.loss for phase in PHASES.values() if phase.loss), *RAG_LOSSES),
    "trials.status": ENDS,
    "ledger.category": list(Category),
}


def run_directory_page() -> str:
    """The page as it is, with the columns of today between its two marks."""
    before, _, after = (FOLDER / "run-directory.md").read_text(encoding="utf-8").split(COLUMNS)
    rows = [f"| `{table}` | {', '.join(_columns(table, record))} |" for record, table in TABLES.items()]
    return COLUMNS.join([before, "\n".join(["", "", "| table | columns |", "|---|---|", *rows, "", ""]), after])


def _columns(table: str, record: type) -> Iterator[str]:
    for column in dataclasses.fields(record):
        words = WORDS.get(f"{table}.{column.name}")
        yield f"`{column.name}`" + (f" ({', '.join(f'`{word}`' for word in words)})" if words else "")


# The reference


def commands_page() -> str:
    """Every verb as its help says it: what it does, its arguments and its options."""
    lines = [MADE, "# Commands", "", "Every verb and its options, as `raggrid VERB --help` prints them."]
    for verb, command in verbs().items():
        lines += [
            "",
            f"## raggrid {verb}",
            "",
            *_paragraphs(command.help or ""),
            "",
            "| | default | |",
            "|---|---|---|",
        ]
        lines += [_option(each) for each in command.params]
    return "\n".join(lines) + "\n"


def verbs() -> Mapping[str, Any]:
    """The commands of the command line, in the order of its help; those of a group by both words."""
    return dict(_verbs(typer.main.get_command(app)))


def _verbs(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        yield from _verbs(command, f"{prefix}{name} ") if inner else [(f"{prefix}{name}", command)]


def _paragraphs(text: str) -> list[str]:
    return inspect.cleandoc(text).split("\n")


def _option(each: Any) -> str:
    names = each.metavar if each.param_type_name == "argument" else ", ".join([*each.opts, *each.secondary_opts])
    default = "required" if each.required else "" if each.default in (None, False) else f"`{each.default}`"
    return f"| `{names}` | {default} | {_plain(each.help or '')} |"


def reference_page() -> str:
    """Every name of the Python API: its signature and its docstring."""
    lines = [MADE, "# Python reference", "", "Every name of `raggrid.__all__`. [Python](python.md) has examples."]
    for name in sorted(raggrid.__all__):
        value = getattr(raggrid, name)
        lines += ["", f"## {name}", ""]
        if inspect.isfunction(value):
            lines += ["```python", _signature(name, value), "```", ""]
        lines += ["```text", inspect.cleandoc(value.__doc__ or ""), "```"]
    return "\n".join(lines) + "\n"


def _signature(name: str, value: Callable[..., object]) -> str:
    """A call with one parameter per line where one line does not hold them."""
    signature = inspect.signature(value)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    bare = [e.replace(default=...) if inspect.isfunction(e.default) else e for e in bare]
    text = f"{name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}"
    return text.replace("'", '"')  # as the formatter, which reads code in pages too, would have it


PAGES: Mapping[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "reference.md": reference_page,
    "settings.md": settings_page,
    "space.schema.json": lambda: json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
    "../search_spaces/template.yaml": template,
    "run-directory.md": run_directory_page,
    "scale.md": scale_page,
    "architecture.md": architecture_page,
    "architecture.svg": lambda: picture(uses()),
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
        print(f"Written: {FOLDER / page}")
