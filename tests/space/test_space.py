"""The search space: what is accepted, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.errors import SpaceError
from raggrid.space.yaml_io import dump_space, load_space, parse_space

MINIMAL = {
    "name": "n",
    "data": {"folder": "d"},
    "models": {"embedder": "e", "generator": "g"},
    "learning_rates": {"embedder": [1e-5], "generator": [1e-4]},
}
SPACES = Path(__file__).parents[2] / "search_spaces"


def problems(text: str, tmp_path: Path, *overrides: str) -> str:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load_space(path, overrides)
    return str(caught.value).replace(f"{path}", "space.yaml")


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_we_ship_loads_and_survives_being_written(path: Path, tmp_path: Path) -> None:
    space = load_space(path)
    (tmp_path / "again.yaml").write_text(dump_space(space))
    assert load_space(tmp_path / "again.yaml") == space


def test_numbers_in_yaml_without_a_point_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "data: {folder: d}\nmodels: {embedder: e, generator: g}\nlearning_rates: {embedder: [1e-6], generator: [3E-4]}"
    )
    rates = load_space(tmp_path / "s.yaml").learning_rates
    assert (rates.embedder, rates.generator) == ((1e-6,), (3e-4,))


def test_overrides_reach_nested_settings(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(dump_space(parse_space(MINIMAL)))
    space = load_space(tmp_path / "s.yaml", ["training.rag.steps=7", "learning_rates.generator=[1e-3, 1e-2]"])
    assert space.training.rag.steps == 7
    assert space.learning_rates.generator == (1e-3, 1e-2)


def test_all_problems_are_told_at_once_in_the_form_we_promise(tmp_path: Path) -> None:
    text = """
data: {folder: d}
models: {embedder: e, generator: g}
learning_rates: {embeder: [1e-6]}
retrieval: {top_k: 0}
"""
    assert problems(text, tmp_path) == (
        "space.yaml: 2 problems\n"
        "  learning_rates.embeder: unknown key. Did you mean 'embedder'?\n"
        "  retrieval.top_k: got 0; expected an integer of at least 1."
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("retrieval.top_k=1", "retrieval.top_k: got 1; strategy 'joint' tunes the embedder through the RAG loss"),
        ("learning_rates.embedder=[]", "learning_rates.embedder: got no values; strategy 'embedder' searches them"),
        ("learning_rates.embedder=[1e-5, 1e-5]", "expected each value once"),
        ("strategies=[two_fase]", "strategies.0: got 'two_fase'; expected 'baseline'"),
        ("strategies=[]", "strategies: got none"),
        ("strategies=[baseline, baseline]", "strategies: got a name twice"),
        ("prompt.template=hello", "prompt.template: got no {context}"),
        ("training.rag.steps=many", "training.rag.steps: got 'many'; expected a number"),
        ("training.rag.steps=1.5", "training.rag.steps: got 1.5; expected an integer"),
        ("training.rag.steps=true", "training.rag.steps: got True; expected a number"),
        ("learning_rates.generator=[2]", "learning_rates.generator.0: got 2; expected a number of at most 1"),
        ("learning_rates.generator=[.nan]", "learning_rates.generator.0: got nan"),
        ("data=here", "data: got 'here'; expected a section (a mapping)"),
        ("losses.joint=[]", "losses.joint: got none"),
        ("resources.workers=-1", "resources.workers: got -1; expected an integer of at least 0"),
        ("resources.workers=many", "resources.workers: got 'many'; expected a number"),
        ("training.sharding=fsdp", "training.sharding: got fsdp; expected none with training.generator: lora"),
        ("training.sharding=fsdp", "training.sharding: got fsdp with resources.workers: auto; expected at least 2"),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, change: str, expected: str) -> None:
    assert expected in problems(dump_space(parse_space(MINIMAL)), tmp_path, change)


SPACE = "data: {folder: d}\nmodels: {embedder: e, generator: g}\n"
RATES = "learning_rates: {embedder: [1e-5], generator: [1e-4]}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            RATES + "budget: {device_hours: -1, dollars: 5}",
            [
                "budget.device_hours: got -1; expected a number of more than 0.0.",
                "budget.dollars: needs resources.dollars_per_device_hour, the price of one device-hour. Add it.",
            ],
        ),
        (
            "learning_rates: {generator: [1e-4], embedder: {sample: random, low: 1e-3, high: 1e-5, cnt: 3}}",
            [
                "learning_rates.embedder.high: got 1e-05; expected more than low, 0.001.",
                "learning_rates.embedder.count: missing; it has no default. Add it.",
                "learning_rates.embedder.cnt: unknown key. Did you mean 'count'?",
            ],
        ),
        (
            RATES + "retrieval: {top_k: 1}\nselection: {finalists: 0}",
            [
                "selection.finalists: got 0; expected an integer of at least 1.",
                "retrieval.top_k: got 1; strategy 'joint' tunes the embedder through the RAG loss, whose gradient is "
                "exactly zero with one passage. Use at least 2.",
            ],
        ),
        # What stands on a wrong value is not judged: neither the price, the strategies nor the rates are missing.
        (
            RATES + "budget: {dollars: 5}\nresources: {dollars_per_device_hour: -1}",
            ["resources.dollars_per_device_hour: got -1; expected a number of more than 0.0."],
        ),
        ("strategies: [two_fase, baseline]", ["strategies.0: got 'two_fase'; expected 'baseline'"]),
        ("strategy: [baseline]", ["strategy: unknown key. Did you mean 'strategies'?"]),
        (
            "learning_rates: {embedder: [2], generator: [1e-4]}",
            ["learning_rates.embedder.0: got 2; expected a number of at most 1.0."],
        ),
    ],
)
def test_what_does_not_fit_together_is_told_beside_what_is_wrong(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    told = problems(SPACE + text, tmp_path).replace("space.yaml: ", "", 1)
    lines = [line.strip() for line in told.splitlines()]
    assert len(lines) == len(expected) + (len(expected) > 1)
    for line in expected:
        assert any(found.startswith(line) for found in lines), (line, lines)


def test_missing_sections_hide_no_contradiction(tmp_path: Path) -> None:
    told = problems("data: {folder: d}\nretrieval: {top_k: 1}\n" + RATES, tmp_path)
    assert "models: missing" in told
    assert "retrieval.top_k: got 1; strategy 'joint'" in told


def test_every_override_is_checked(tmp_path: Path) -> None:
    told = problems(dump_space(parse_space(MINIMAL)), tmp_path, "training", "name.x=3", "retrieval.top_k=0", "seeds=[")
    for part in (
        "--set: got 'training'; expected KEY=VALUE", "--set name.x: 'name' is 'n', not a section",
        "--set retrieval.top_k: got 0; expected an integer of at least 1.", "--set seeds:1: not YAML",
    ):  # fmt: skip
        assert part in told


def test_one_passage_is_enough_where_nothing_is_marginalised() -> None:
    strategies = ["baseline", "embedder", "generator", "independent"]
    assert parse_space({**MINIMAL, "retrieval": {"top_k": 1}, "strategies": strategies}).retrieval.top_k == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "space.yaml:1: not YAML"),
        ("- a\n- b\n", "space.yaml: got ['a', 'b']; expected a mapping"),
        ("a: 1\na: 2\n", "key 'a' is written twice"),
        ("", "space.yaml: got nothing; expected a mapping"),
        ("models: {generator: g}\ndata: {folder: d}", "models.embedder: missing; it has no default. Add it."),
    ],
)
def test_what_is_no_space_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(text, tmp_path)


def test_a_missing_file_names_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "popqa.yaml").write_text("")
    with pytest.raises(SpaceError, match=r"Did you mean .*popqa\.yaml"):
        load_space(tmp_path / "popqaa.yaml")


def test_a_missing_file_names_no_other_one(tmp_path: Path) -> None:
    (tmp_path / "s_a.yaml").write_text("")
    with pytest.raises(SpaceError) as caught:
        load_space(tmp_path / "quickstart.yaml")
    assert str(caught.value) == f"{tmp_path / 'quickstart.yaml'}: no such file; expected a search space in YAML."
    (tmp_path / "quickstart.yml").write_text("")
    with pytest.raises(SpaceError, match=r"Did you mean .*quickstart\.yml"):
        load_space(tmp_path / "quickstart.yaml")
    with pytest.raises(SpaceError, match=r"Did you mean .*quickstart\.yml"):
        load_space(tmp_path / "quickstart")


def test_a_folder_is_no_space(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; expected a search space in YAML."
    (tmp_path / "popqa.yaml").write_text("")
    with pytest.raises(SpaceError) as caught:
        load_space(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: is a folder; expected a search space in YAML. It holds popqa.yaml: give one."
    )


@pytest.mark.parametrize("override", ["training", "=3", "name.x=3"])
def test_overrides_that_make_no_sense_are_refused(tmp_path: Path, override: str) -> None:
    assert "--set" in problems(dump_space(parse_space(MINIMAL)), tmp_path, override)


@pytest.mark.parametrize(("written", "chat"), [("on", "on"), ("off", "off"), ("auto", "auto"), ("'off'", "off")])
def test_on_and_off_are_words_though_yaml_reads_them_as_truth_values(tmp_path: Path, written: str, chat: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(dump_space(parse_space(MINIMAL)))
    assert load_space(file, [f"prompt.chat={written}"]).prompt.chat == chat
    with pytest.raises(SpaceError, match=r"prompt\.chat: got 'maybe'; expected 'auto', 'on' or 'off'"):
        load_space(file, ["prompt.chat=maybe"])
