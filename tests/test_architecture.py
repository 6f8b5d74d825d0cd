"""The house: layers import downwards, each heavy library has one owner, files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import raggrid

ROOT = Path(raggrid.__file__).parent
# Low to high. A module may import from strictly lower layers and from its own.
LAYERS = [
    {"errors"},
    {"records"},
    {"settings"},
    {"space", "rates"},
    {"space_yaml", "identity", "strategies"},
    {"names", "costs", "unit_costs", "model_size", "store", "columns"},
    {"data"},
    {"rag", "demo"},
    {"evaluation"},
    {"finetune"},
    {"search", "analysis"},
    {"show"},
    {"cli"},
]
BESIDE = {"analysis": {"search"}, "search": {"analysis"}}
OWNERS = {
    "ray": "search",
    "sentence_transformers": "rag/embedder.py",
    "faiss": "rag/index.py",
    "transformers": "rag",
    "peft": "rag/generator.py",
    "gguf": "rag",
    "pyarrow": "store.py columns.py search/read_curves.py",
    "datasets": "data",
    "yaml": "space_yaml.py",
    "pydantic": "settings.py space.py space_yaml.py",
    "altair": "analysis/charts.py analysis/report/figures.py",
    "vl_convert": "analysis/report/figures.py",
    "jinja2": "analysis/report/page.py",
    "scipy": "analysis/cost_spread.py",
    "safetensors": "finetune/checkpoints.py",
    "optuna": "search/proposals.py",
    "typer": "cli",
    "rich": "show search/screen.py search/study.py",
    "torch": "rag finetune evaluation search",
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    own = room(path)
    if own == "__init__":
        return
    for name in imports(path):
        if name.startswith("raggrid."):
            other = name.split(".")[1]
            assert other == own or height[other] <= height[own], f"{path}: {own} may not import {other}"
            assert other not in BESIDE.get(own, ()), f"{path}: {own} and {other} stand beside each other"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_heavy_library_has_one_owner(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        owners = OWNERS.get(name.partition(".")[0])
        assert owners is None or any(place.startswith(owner) for owner in owners.split()), f"{place} imports {name}"


def test_analysis_stands_on_records_alone() -> None:
    allowed = {
        "analysis",
        "errors",
        "records",
        "settings",
        "space",
        "rates",
        "strategies",
        "costs",
        "unit_costs",
        "model_size",
        "store",
        "columns",
        "names",
    }
    for path in (ROOT / "analysis").rglob("*.py"):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("raggrid.")}
        assert used <= allowed, path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text))
