"""The template loads, the schema accepts what loads and refuses what does not, comments stand above their keys."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from raggrid.errors import SpaceError
from raggrid.space.commented import EXAMPLES, commented, json_schema, sections, template
from raggrid.space.schema import flat
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import load_space

ROOT = Path(__file__).parents[2]


def test_the_template_has_every_key_and_loads_as_the_defaults() -> None:
    path = ROOT / "search_spaces" / "template.yaml"
    assert path.read_text(encoding="utf-8") == template()
    space = load_space(path)
    defaults = SearchSpace.model_validate({
        "name": "x", "data": {"folder": "d"}, "models": {"embedder": "e", "generator": "g"},
        "learning_rates": {"embedder": [1e-5], "generator": [1e-4]},
    })  # fmt: skip
    now, then = flat(space.model_dump(mode="json")), flat(defaults.model_dump(mode="json"))
    assert {key for key in now if now[key] != then[key]} == EXAMPLES.keys()
    keys = {f"{prefix}{name}" for prefix, _, fields in sections() for name, _ in fields}
    written = flat({**yaml.safe_load(path.read_text()), "name": 0})
    drawn = {key for key in keys if key.startswith(("learning_rates.embedder.", "learning_rates.generator."))}
    empty = {"data.limits", "data.splits", "data.columns"}  # mappings without a key
    assert keys - drawn - empty == written.keys()


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_every_space_that_there_is(path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(_as_yaml_1_2(path))), schema)


def _as_yaml_1_2(path: Path) -> object:
    """What an editor reads: there 1e-6 is a number, and on a string."""
    space = load_space(path)
    return space.model_dump(mode="json", exclude_unset=True)


@pytest.mark.parametrize(
    "change",
    [
        {"retrieval": {"top_k": 0}},
        {"budget": {"wall_hours": 0}},
        {"training": {"warmup_fraction": 1}},
        {"strategies": ["best"]},
        {"learning_rates": {"embeder": [1e-5]}},
        {"prompt": {"window": "end"}},
        {"data": {"folder": "d", "format": "xml"}},
    ],
)
def test_the_schema_refuses_what_raggrid_refuses(change: dict[str, object], tmp_path: Path) -> None:
    raw = {"data": {"folder": "d"}, "models": {"embedder": "e", "generator": "g"}, "strategies": ["baseline"], **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json_schema())
    (tmp_path / "x.yaml").write_text(json.dumps(raw))
    with pytest.raises(SpaceError):
        load_space(tmp_path / "x.yaml")


def test_the_schema_explains_each_key() -> None:
    schema = json_schema()
    assert schema["$defs"]["Data"]["properties"]["chunk_tokens"]["description"].startswith("Split passages that have")
    assert "name" not in schema["required"]


def test_comments_stand_above_their_keys_and_values_survive() -> None:
    settings = {"name": "a: b # c", "data.folder": "d", "prompt.template": "x\n{context}", "training.rag.steps": 3}
    text = commented(settings, {"data.folder": "Where it lies.", "training": "How."}, "Two\nlines.")
    assert text.startswith("# Two\n# lines.\n")
    assert "\n  # Where it lies.\n  folder: " in text
    assert "\n# How.\ntraining:\n  rag:\n    steps: 3\n" in text
    assert flat(yaml.safe_load(text)) == settings
