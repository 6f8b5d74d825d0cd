"""The wheel and the source distribution have all that raggrid reads, and declare what the documentation names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
EXTRAS = {"dev", "demo", "docs", "qlora", "vllm", "tracking"}
BUILD = "from setuptools import build_meta as b; print(b.build_{kind}({folder!r}))"


def code_files() -> set[str]:
    """Every file of the package as it is checked out."""
    found = (path for path in (ROOT / "raggrid").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: building leaves files beside it."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "raggrid", folder / "raggrid", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def built(source: Path, kind: str) -> Path:
    """A distribution, built without a network."""
    words = [sys.executable, "-c", BUILD.format(kind=kind, folder=str(source / "dist"))]
    (source / "dist").mkdir(exist_ok=True)
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return source / "dist" / done.stdout.split()[-1]


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_nothing_else(source: Path) -> None:
    with zipfile.ZipFile(built(source, "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = next(name for name in wheel.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(wheel.read(about).decode())
        entry = wheel.read(next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))).decode()
    assert names == code_files()
    assert set(metadata.get_all("Provides-Extra", [])) >= EXTRAS
    assert "raggrid = raggrid.cli:main" in entry


@pytest.mark.slow
def test_a_wheel_can_be_built_from_the_source_distribution(source: Path, tmp_path: Path) -> None:
    with tarfile.open(built(source, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    with zipfile.ZipFile(built(unpacked, "wheel")) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == code_files()


def test_every_extra_that_errors_and_pages_name_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "raggrid").rglob("*.py"), ROOT / "README.md"]
    named = {extra for path in pages for extra in _extras(path.read_text(encoding="utf-8"))}
    assert declared.keys() >= named | EXTRAS
    assert "tracking" in named


def _extras(text: str) -> set[str]:
    parts = text.split("raggrid[")[1:]
    return {name.strip() for part in parts for name in part.partition("]")[0].split(",")}
