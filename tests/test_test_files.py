"""Tests are short, lie where the code lies that they test, and those of the quick half start no study."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_architecture import LONGEST_FILE, ROOT, imports, modules, names_of, parsed

TESTS = Path(__file__).parent
# What takes seconds to start; a test that reaches one of them, itself or by helpers or fixtures of its file, is slow.
STARTERS = {
    "raggrid.backend.ray.search.search",
    "tests.processes.command",
    "tests.processes.finish",
    "tests.processes.start",
    "tests.ray_nodes.ray_node",
}
STARTED_BEFORE = "backend/test_recorded_runs.py"  # its studies are complete or refused: nothing starts


def misplaced(path: Path, root: Path = TESTS) -> bool:
    """Whether a test lies in a folder that is none of the code's, or whose code neither it nor its helpers use."""
    folder = path.parent.relative_to(root).as_posix()
    package = f"raggrid.{folder.replace('/', '.')}"
    return folder != "." and not ((ROOT / folder).is_dir() and any(name.startswith(package) for name in _used(path)))


def _used(test: Path) -> set[str]:
    """What a test or a helper of tests imports, itself or through helpers."""
    own = set(imports(test))
    helpers = [TESTS.parent / f"{name.replace('.', '/')}.py" for name in own if name.startswith("tests.")]
    return own.union(*map(_used, helpers))


def quick_that_start(path: Path) -> list[str]:
    """The tests of a file that reach one of `STARTERS` and are not marked slow."""
    imported = {name.rpartition(".")[2] for name in names_of(path) & STARTERS}
    if not imported or any(marked_slow(node) for node in parsed(path).body if isinstance(node, ast.Assign)):
        return []
    functions = {node.name: node for node in parsed(path).body if isinstance(node, ast.FunctionDef)}
    starting = imported
    while found := {name for name in functions if used_in(functions[name]) & starting} - starting:
        starting = starting | found
    return [name for name in functions if name in starting and name[:5] == "test_" and not is_slow(functions[name])]


def used_in(function: ast.FunctionDef) -> set[str]:
    """The names that a function uses, and the fixtures that it takes."""
    taken = {argument.arg for argument in function.args.args}
    return taken | {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def is_slow(function: ast.FunctionDef) -> bool:
    return any(marked_slow(node) for node in function.decorator_list)


def marked_slow(node: ast.AST) -> bool:
    return "pytest.mark.slow" in ast.unparse(node)


def test_quick_tests_start_neither_ray_nor_a_study() -> None:
    found = {path.relative_to(TESTS).as_posix(): quick_that_start(path) for path in TESTS.rglob("test_*.py")}
    assert {name: tests for name, tests in found.items() if tests and name != STARTED_BEFORE} == {}


@pytest.mark.parametrize(("mark", "found"), [("", ["test_it"]), ("@pytest.mark.slow\n", [])])
def test_a_quick_test_that_starts_a_study_by_a_fixture_is_found(tmp_path: Path, mark: str, found: list[str]) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(
        "from raggrid.backend.ray.search import search\n@pytest.fixture\ndef run():\n    search()\n"
        f"{mark}def test_it(run): ...\ndef test_other(): ...\n"
    )
    assert quick_that_start(path) == found


def test_files_of_tests_are_short_too() -> None:
    lengths = {path.relative_to(TESTS).as_posix(): path.read_text().count("\n") for path in TESTS.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_tests_lie_in_folders_like_the_codes() -> None:
    tests = sorted(TESTS.rglob("test_*.py"))
    assert [str(path) for path in tests if misplaced(path)] == []
    tested = {path.relative_to(TESTS).parts[0] for path in tests}
    assert {path.relative_to(ROOT).parts[0] for path in modules() if path.parent != ROOT} <= tested


@pytest.mark.parametrize("file", ["cli/test_errors.py", "search/test_study.py"])
def test_a_misplaced_test_is_found(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text("from raggrid.errors import listed\n")
    assert misplaced(path, tmp_path)
