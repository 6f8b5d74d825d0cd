"""YAML in, a checked SearchSpace out, with every problem of a file reported at once."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raggrid.errors import SpaceError, listed
from raggrid.space.schema import CURRENT, upgraded
from raggrid.space.search_space import Contradictions, SearchSpace
from raggrid.space.tuning import Sampled

# The forms of a setting that has several: part of pydantic's path to a problem, but not of the user's.
FORMS: Mapping[object, type | None] = {"list": None, "drawn": Sampled, "auto_form": None, "natural_form": None,
                                           "one_form": None, "by_type_form": None}  # fmt: skip
# Sections without a default that contradict no other section.
NEEDED: Mapping[str, object] = {"name": "", "data": {"folder": ""}, "models": {"embedder": "", "generator": ""}}


class _Loader(yaml.SafeLoader):
    """A SafeLoader that reads ``1e-6`` as a number and refuses duplicate keys."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.MarkedYAMLError(problem=f"key '{twice[0]}' is written twice", problem_mark=node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_space(
    path: Path | str, overrides: Sequence[str] = (), options: Mapping[str, str] | None = None
) -> SearchSpace:
    """Read a YAML search space, apply ``KEY.SUB=VALUE`` overrides, check it.

    Of a space with metrics of the user's own, modules in the file's folder and in the current one can be imported from
    then on: both are appended to ``sys.path``.

    Args:
        path: the file.
        overrides: those of --set.
        options: overrides that have an option of their own, such as --wall-hours, by option.

    Raises:
        SpaceError: the file is missing, not YAML, or wrong; the message lists every problem.
    """
    path = Path(path)
    if path.is_dir():
        inside = [entry.name for entry in _files_in(path)]
        hint = f" It holds {', '.join(inside)}: give one." if inside else ""
        raise SpaceError(f"{path}: is a folder; expected a search space in YAML.{hint}")
    if not path.is_file():
        raise SpaceError(f"{path}: no such file; expected a search space in YAML.{_similar_file(path)}")
    raw = _parsed(path.read_text(encoding="utf-8", errors="replace"), str(path))
    space = _checked({"name": path.stem, "schema_version": CURRENT, **raw}, str(path), overrides, options or {})
    if space.metrics:
        folders = [str(folder.resolve()) for folder in (path.parent, Path())]
        sys.path.extend(folder for folder in dict.fromkeys(folders) if folder not in sys.path)
    return space


def bare_space(folder: str, overrides: Sequence[str] = ()) -> SearchSpace:
    """A space that says nothing but where its data are, for what reads data alone. Raises `SpaceError`."""
    models = {"embedder": "none", "generator": "none"}
    raw: dict[str, object] = {"name": folder, "data": {"folder": folder}, "models": models, "strategies": ["baseline"]}
    return _checked(raw, folder, overrides, {})


def recorded_space(text: str, where: str) -> SearchSpace:
    """The space in the file ``where`` of a run directory: as `load_space`, but of schema 0 if it names no version."""
    return _checked({"name": "space", "schema_version": 0, **_parsed(text, where)}, where, (), {})


def _parsed(text: str, where: str) -> dict[str, object]:
    raw = _parse(text, where)
    if not isinstance(raw, dict):
        raise SpaceError(f"{where}: got {_shown(raw)}; expected a mapping with 'data', 'models', 'strategies', ...")
    return raw


def _checked(raw: dict[str, object], where: str, overrides: Sequence[str], options: Mapping[str, str]) -> SearchSpace:
    problems, given = [], {}
    for option, override in [*(("--set", text) for text in overrides), *options.items()]:
        try:
            given[_override(raw, override)] = option
        except SpaceError as error:
            problems.append(str(error))
    raw = upgraded(raw)
    try:
        space = SearchSpace.model_validate(raw)
    except ValidationError as error:
        lines = [(line, _said(line, given)) for line in _lines(error, raw)]
        problems += [said for line, said in lines if said != line]
        own = [line for line, said in lines if said == line]
        problems += [listed(where, own)] if own else []
    if problems:
        raise SpaceError("\n".join(problems))
    return space


def parse_space(raw: Mapping[str, object], where: str = "search space") -> SearchSpace:
    """A checked space from plain data. Raises `SpaceError` with every problem at once."""
    raw = upgraded(raw)
    try:
        return SearchSpace.model_validate(raw)
    except ValidationError as error:
        raise SpaceError(listed(where, _lines(error, raw))) from None


def as_of(space: SearchSpace, version: int) -> SearchSpace:
    """The space as it was meant under a schema version: what it leaves unsaid takes the defaults of then."""
    return parse_space({**space.model_dump(mode="json", exclude_unset=True), "schema_version": version})


def dump_space(space: SearchSpace) -> str:
    """The space as YAML with every default filled in; `load_space` of it gives an equal space."""
    return yaml.safe_dump(space.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _similar_file(path: Path) -> str:
    """The file that was probably meant; names are compared without suffix, which makes short names look similar."""
    folder = path.parent if path.parent.is_dir() else Path()
    known = {entry.stem: entry for entry in _files_in(folder)}
    close = difflib.get_close_matches(path.stem, known, n=1)
    return f" Did you mean '{known[close[0]]}'?" if close else ""


def _files_in(folder: Path) -> list[Path]:
    return [path for pattern in ("*.yaml", "*.yml") for path in sorted(folder.glob(pattern)) if path.is_file()]


def _parse(text: str, where: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpaceError(
            f"{where}{line}: not YAML: {getattr(error, 'problem', None) or error}. Fix the line."
        ) from None


def _override(raw: dict[str, Any], override: str) -> str:
    """Set one value; returns its key."""
    key, sign, value = (part.strip() for part in override.partition("="))
    if not sign or not key:
        raise SpaceError(f"--set: got '{override}'; expected KEY=VALUE, such as training.rag.steps=24.")
    parsed = _parse(value, f"--set {key}")
    *parents, leaf = key.split(".")
    target = raw
    for parent in parents:
        child = target.setdefault(parent, {})
        if not isinstance(child, dict):
            raise SpaceError(f"--set {key}: '{parent}' is {_shown(child)}, not a section. Check the key.")
        target = child
    target[leaf] = parsed
    return key


def _said(line: str, given: Mapping[str, str]) -> str:
    """The line of a problem; it names the option instead of the file if the value came from an option."""
    where = line.partition(":")[0]
    for key, option in given.items():
        if option == "--set" and _touch(where, key):
            return f"--set {line}"
        if where == key:
            return option + line.removeprefix(key)
    return line


def _touch(one: str, other: str) -> bool:
    """Whether one key is the other, or a part of it; the empty key is the whole space."""
    return not one or not other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _lines(error: ValidationError, raw: Mapping[str, object]) -> list[str]:
    """Every problem of a space, one line each."""
    problems = [dict(problem) for problem in error.errors()]
    return [line for problem in problems for line in _problem_lines(problem)] + _beyond(raw, problems)


def _beyond(raw: Mapping[str, object], problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """The contradictions of a space with wrong values, as far as they do not follow from these values."""
    rest: dict[str, Any] = {**raw, **NEEDED}
    wrong = []
    for problem in problems:
        section, *inner = problem["loc"] or [""]
        # An unknown key may stand for any key beside it.
        wrong.append(_key(problem["loc"][:-1] if problem["type"] == "extra_forbidden" else problem["loc"]))
        content = rest.pop(section, None) if section not in NEEDED else None
        if inner and isinstance(content, dict):
            rest[section] = {name: value for name, value in content.items() if name != inner[0]}
    try:
        SearchSpace.model_validate(rest)
    except ValidationError as error:
        causes = [problem.get("ctx", {}).get("error") for problem in error.errors()]
        found = [each for cause in causes if isinstance(cause, Contradictions) for each in cause.found]
        return [each.sentence for each in found if not any(_touch(key, bad) for key in each.reads for bad in wrong)]
    return []


def _key(loc: Sequence[object]) -> str:
    return ".".join(str(part) for part in loc if part not in FORMS)


def _problem_lines(problem: Mapping[str, Any]) -> list[str]:
    where = _key(problem["loc"])
    kind, got, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return [f"{where}: unknown key.{_did_you_mean(problem['loc'])}"]
    if kind == "missing":
        return [f"{where}: missing; it has no default. Add it."]
    if kind == "value_error" and not where:
        return str(context["error"]).splitlines()
    return [f"{where}: got {_shown(got)}; {_expected(kind, context, problem['msg'])}."]


def _expected(kind: str, context: Mapping[str, Any], message: str) -> str:
    bounds = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
    if kind in bounds:
        limit = next(iter(context.values()))
        return f"expected {'an integer of' if isinstance(limit, int) else 'a number of'} {bounds[kind]} {limit}"
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind in ("int_from_float", "int_parsing", "int_type"):
        return "expected an integer"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "expected a section (a mapping)"
    if kind in ("tuple_type", "list_type"):
        return "expected a list"
    if kind == "too_short":
        return "expected at least one entry"
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _did_you_mean(loc: tuple[Any, ...]) -> str:
    section: Any = SearchSpace
    for part in loc[:-1]:
        if part in FORMS:
            section = FORMS[part]
            continue
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    known = list(getattr(section, "model_fields", {}))
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known here: {', '.join(known)}." if known else ""


def _shown(value: object) -> str:
    text = "nothing" if value is None else "a mapping" if isinstance(value, dict) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
