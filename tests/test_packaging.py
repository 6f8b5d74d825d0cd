"""The wheel and the source distribution have all that raggrid reads, and declare what the documentation names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.test_docs import shown_commands

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
EXTRAS = {"dev", "demo", "docs", "qlora", "vllm", "tracking"}
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# The tutorial's search, shortened: fewer strategies, steps and questions.
SHORTER = (
    "strategies=[baseline, generator]", "training.rag.steps=4", "training.validation_questions=4",
    "data.limits.validation=8", "data.limits.test=8", "learning_rates.generator=[1e-3]",
)  # fmt: skip
RUN_ALL = """
import json, sys
from raggrid.cli import main
for words in json.load(sys.stdin):
    sys.argv = words
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{' '.join(words)}: ended with {end.code}")
"""
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


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """The wheel of this checkout."""
    return built(source, "wheel")


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
        about = next(name for name in content.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(content.read(about).decode())
        entry = content.read(next(name for name in content.namelist() if name.endswith("entry_points.txt"))).decode()
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


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> dict[str, str]:
    """An environment whose raggrid is the wheel's."""
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target"]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *options, tmp_path / "site", wheel], check=True)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs_from_the_wheel_in_an_empty_folder(
    installed: dict[str, str], tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    own = dict(zip(re.findall(r"package:\S+", TUTORIAL), map(str, tiny_models), strict=True))
    lines = [line for page, line in shown_commands() if page == "tutorial.md"]
    shown = [[own.get(word, word) for word in shlex.split(line)] for line in lines]
    assert {words[1] for words in shown} >= {"demo", "init", "plan", "search", "watch", "recommend", "export", "ask"}
    watched = [words for words in shown if words[1] == "watch"]
    told = [[*words, *(f"--set={each}" for each in SHORTER)] if words[1] == "search" else words for words in shown]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps([words for words in told if words not in watched]),
        cwd=folder, env=installed, capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "answers are equal to those of the evaluation" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"runs", "world.yaml", "frontier.html", "report.html", "tuned"}
    for words in watched:
        assert served_page([*words, "--port", "0"], folder, installed).startswith("<!doctype html>")


def served_page(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What `raggrid watch --web` serves until Ctrl-C."""
    command = [sys.executable, "-c", RUN_ALL]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdin
        assert watching.stdout
        json.dump([words], watching.stdin)
        watching.stdin.close()
        told = next(line for line in watching.stdout if "http://" in line)
        with urlopen(re.findall(r"http://\S+", told)[0], timeout=60) as response:
            page = str(response.read().decode())
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 1  # RUN_ALL's, of a command that ended with 130
    return page


def test_the_tutorial_installs_the_pinned_torch() -> None:
    (pinned,) = re.findall(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"pip install {pinned.partition('+')[0]}\n" in TUTORIAL


def test_every_extra_that_errors_and_pages_name_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "raggrid").rglob("*.py"), ROOT / "README.md"]
    named = {extra for path in pages for extra in _extras(path.read_text(encoding="utf-8"))}
    assert declared.keys() >= named | EXTRAS
    assert "tracking" in named


def _extras(text: str) -> set[str]:
    parts = text.split("raggrid[")[1:]
    return {name.strip() for part in parts for name in part.partition("]")[0].split(",")}
