"""A search space as YAML with comments: what was chosen and why, or every key with what it does."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raggrid.space.schema import nested
from raggrid.space.search_space import SearchSpace

WIDTH = 118
# In place of what has no default, or none that runs.
EXAMPLES: Mapping[str, Any] = {
    "name": "my-study",
    "data.folder": "data/my",
    "models.embedder": "sentence-transformers/all-MiniLM-L6-v2",
    "models.generator": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "learning_rates.embedder": [1e-6, 1e-5, 1e-4],
    "learning_rates.generator": [1e-4, 3e-4, 1e-3],
}


def commented(settings: Mapping[str, Any], comments: Mapping[str, str], head: str = "") -> str:
    """YAML of settings by dotted key, in their order, each under its comment; ``head`` stands above all of them."""
    lines = [*_comment(head, ""), *_lines(nested(settings), comments, "")]
    return "\n".join(lines) + "\n"


def _lines(data: Mapping[str, Any], comments: Mapping[str, str], prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for name, value in data.items():
        key = f"{prefix}{name}"
        yield from _comment(comments.get(key, ""), indent)
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, comments, f"{key}.")
        else:
            # JSON is YAML; a number such as 1e-05 is read as one by `load_space` and by YAML 1.2.
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}"


def _comment(text: str, indent: str) -> list[str]:
    paragraphs = text.splitlines() or []
    wrapped = (line for part in paragraphs for line in textwrap.wrap(part, WIDTH - len(indent) - 2) or [""])
    return [f"{indent}# {line}".rstrip() for line in wrapped]


def template() -> str:
    """Every key with its default and what it does; keys without a default have an example."""
    settings, comments = dict[str, Any](), dict[str, str]()
    for prefix, section, fields in sections():
        if prefix.startswith(("learning_rates.embedder.", "learning_rates.generator.")):
            continue  # another form of the list
        told = docstrings(section)
        comments[prefix.rstrip(".")] = _plain(section.__doc__ or "")
        for name, field in fields:
            key = f"{prefix}{name}"
            settings[key] = EXAMPLES[key] if key in EXAMPLES else _default(field)
            comments[key] = _plain(told.get(name, ""))
    comments.pop("", None)
    head = (
        "Every key of a search space with its default. Copy what you change into a space of your own: what is left out "
        "keeps its default. A list of learning rates may also be drawn: {sample: optuna, low: 1e-6, high: 1e-3, "
        "count: 8}.\nMade by python -m docs.generate: change it there."
    )
    return commented(settings, comments, head)


def _default(field: FieldInfo) -> Any:
    return json.loads(json.dumps(field.get_default(call_default_factory=True)))


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "").split())


def json_schema() -> dict[str, Any]:
    """A JSON schema of search spaces, for editors: types, choices and bounds, with what each key does."""
    schema = SearchSpace.model_json_schema()
    parts = {"SearchSpace": schema, **schema["$defs"]}
    for section in {one for _, one, _ in sections()}:
        for name, text in docstrings(section).items():
            parts[section.__name__]["properties"][name]["description"] = _plain(text)
        for name, field in section.model_fields.items():
            _add_bounds(parts[section.__name__]["properties"][name], field)
    schema["required"] = [name for name in schema["required"] if name != "name"]  # the file's name stands for it
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "raggrid search space"}


BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _add_bounds(shape: dict[str, Any], field: FieldInfo) -> None:
    """Bounds of numbers, which pydantic leaves out where a validator comes before them."""
    shape |= _bounds(field.metadata)
    for part, inner in zip(get_args(field.annotation), shape.get("anyOf", ()), strict=False):
        inner |= _bounds(getattr(part, "__metadata__", ()))


def _bounds(metadata: Iterable[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in metadata:
        found |= _bounds(each.metadata) if isinstance(each, FieldInfo) else {}
        found |= {word: getattr(each, name) for name, word in BOUNDS.items() if hasattr(each, name)}
    return found


Sections = Iterator[tuple[str, type[BaseModel], list[tuple[str, FieldInfo]]]]


def sections(section: type[BaseModel] = SearchSpace, prefix: str = "") -> Sections:
    """(prefix of its keys, section, its own keys with a value): the space's first, then each section's in it."""
    inner = {name: list(_sections_in(field.annotation)) for name, field in section.model_fields.items()}
    yield (
        prefix,
        section,
        [
            (name, field)
            for name, field in section.model_fields.items()
            if not inner[name] or not (field.is_required() or isinstance(field.default, BaseModel))
        ],
    )
    for name, found in inner.items():
        for one in found:
            yield from sections(one, f"{prefix}{name}.")


def _sections_in(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def docstrings(section: type[BaseModel]) -> Mapping[str, str]:
    """The docstring under each setting of a section, as far as there is one, in one line."""
    (tree,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(told.value.value.split())
        for field, told in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(told, ast.Expr) and isinstance(told.value, ast.Constant) and isinstance(told.value.value, str)
    }  # fmt: skip
