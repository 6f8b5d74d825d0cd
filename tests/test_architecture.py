"""The house: rooms import strictly downwards, each heavy library has one owner, and some rooms must not know things."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import raggrid

ROOT = Path(raggrid.__file__).parent
# Low to high. A file may import from its own room and from strictly lower ones.
ROOMS = (
    "errors", "records", "machine_faults", "evaluation/metrics", "strategies", "space", "searches", "graph", "identity",
    "costs",
    "prices",
    "unit_costs",
    "model_size",
    "display_names",
    "notebook_display",
    "store",
    "rag",
    "data",
    "study",
    "watching",
    "tracking",
    "demo",
    "evaluation",
    "finetune",
    "diagnosis",
    "worker",
    "backend/ray",
    "backend/simulator",
    "analysis/inference",
    "planning",
    "analysis",
    "export",
    "serve",
    "published",
    "report",
    "live_view",
    "show",
    "cli",
)  # fmt: skip
# Each library, and the rooms or files that may import it.
OWNERS: Mapping[str, str] = {
    "ray": "backend/ray/ serve/ray_serve.py",
    "sentence_transformers": "rag/embedder.py export/load.py",
    "faiss": "rag/index.py rag/approximate.py export/load.py",
    "transformers": "rag/ export/load.py",
    "peft": "rag/adapters.py export/load.py",
    "vllm": "rag/engines/vllm_engine.py",
    "gguf": "rag/",
    "pyarrow": "store/ data/ backend/simulator/read_curves.py",
    "datasets": "data/formats/hub.py",
    "yaml": "space/yaml_io.py",
    "pydantic": "space/ serve/",
    "huggingface_hub": "export/uploading.py",
    "fastapi": "serve/",
    "starlette": "serve/",
    "uvicorn": "serve/http_server.py",
    "prometheus_client": "serve/counters.py",
    "altair": "report/",
    "vl_convert": "report/",
    "jinja2": "report/page.py",
    "scipy": "analysis/",
    "safetensors": "finetune/checkpoints.py",
    "optuna": "study/proposals.py",
    "tensorboardX": "tracking/tensorboard.py",
    "mlflow": "tracking/mlflow_runs.py",
    "wandb": "tracking/wandb_runs.py",
    "trackio": "tracking/trackio_runs.py",
    "typer": "cli/",
    "rich": "show/ cli/",
    "torch": (
        "rag/ finetune/ evaluation/ worker/ export/ diagnosis/examination.py backend/ray/inline.py backend/ray/group.py"
    ),
}
DISK = ("os", "pathlib", "shutil", "io", "tempfile", "fcntl", "glob")
# What a room or a file must not know, neither as a library nor as a part of raggrid.
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "store/storage.py": DISK,
    "study": ("ray", "torch", *DISK),
    "worker": ("ray",),
    "finetune": ("ray",),
    "diagnosis": ("ray",),
    "analysis/inference": ("ray", "torch", *DISK),
    "analysis": ("ray", "torch", "raggrid.rag", "raggrid.finetune", "raggrid.worker", "raggrid.backend"),
}
# The one part of the store that a room may know, where it may not know all.
OF_STORE: Mapping[str, str] = {"study": "raggrid.store.storage", "store/storage.py": "raggrid.store.storage"}
# Calls that change a file system, and who may make them: nobody else touches the files of a run directory.
CHANGES = ("rename", "mkdir", "makedirs", "rmdir", "rmtree", "unlink", "touch", "write_text", "write_bytes")
CHANGERS = ("store/", "rag/", "demo/world.py", "backend/ray/group.py", "export/")
LARGEST_ROOM, LONGEST_FILE = 20, 300


def modules(root: Path = ROOT) -> list[Path]:
    return sorted(root.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's syntax."""
    return tuple(ast.walk(parsed(path)))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, anywhere in it; for names of raggrid's, the file they come from."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            package = node.module or ""
            inside = ROOT.parent / package.replace(".", "/")
            yield from {f"{package}.{a.name}" if (inside / f"{a.name}.py").is_file() else package for a in node.names}


def names_of(path: Path) -> set[str]:
    """Everything that a file imports by name."""
    imported = [node for node in nodes(path) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in imported for alias in node.names}


def room(module: str) -> str:
    """The room of ``raggrid.x.y``: the longest of `ROOMS` that it lies in, or its first part."""
    place = module.removeprefix("raggrid.").replace(".", "/")
    inside = [name for name in ROOMS if place == name or place.startswith(f"{name}/")]
    return max(inside, key=len, default=place.partition("/")[0])


def module_of(path: Path, root: Path = ROOT) -> str:
    name = ".".join(("raggrid", *path.relative_to(root).with_suffix("").parts))
    return name.removesuffix(".__init__")


def upward(path: Path, root: Path = ROOT) -> list[str]:
    """The imports of a file that do not go strictly downwards."""
    own = room(module_of(path, root))
    height = {name: level for level, name in enumerate(ROOMS)}
    used = {name for name in imports(path) if name.startswith("raggrid.")}
    return [name for name in sorted(used) if room(name) != own and height[room(name)] >= height[own]]


def cycles(paths: Iterable[Path], root: Path = ROOT) -> list[str]:
    """A cycle among these files; empty where there is none."""
    graph = {module_of(path, root): {name for name in imports(path) if name.startswith("raggrid.")} for path in paths}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def foreign(path: Path, root: Path = ROOT) -> list[str]:
    """The imports of a file that belong to other owners."""
    place = path.relative_to(root).as_posix()
    used = {name.partition(".")[0] for name in imports(path)}
    return [name for name in sorted(used & OWNERS.keys()) if not any(place.startswith(o) for o in OWNERS[name].split())]


def known_but_forbidden(path: Path, root: Path = ROOT) -> list[str]:
    """The imports of a file that it or its room must not know."""
    owners = room(module_of(path, root)), path.relative_to(root).as_posix()
    banned = [name for owner in owners for name in FORBIDDEN.get(owner, ())]
    found = [name for name in sorted(set(imports(path))) if any(name == b or name.startswith(f"{b}.") for b in banned)]
    known = {OF_STORE[owner] for owner in owners if owner in OF_STORE}
    store = [name for name in imports(path) if known and name.startswith("raggrid.store") and name not in known]
    return found + store


def file_changes(path: Path, root: Path = ROOT) -> list[str]:
    """The calls of a file that change a file system, where it is not one that may."""
    if path.relative_to(root).as_posix().startswith(CHANGERS):
        return []
    calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
    return [call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr in CHANGES]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def broken(rule: Callable[[Path], object]) -> dict[str, object]:
    """What the rule finds in each file, where it finds something."""
    return {name_of(path): found for path in modules() if (found := rule(path))}


def test_imports_go_strictly_downwards() -> None:
    files = [path for path in modules() if path != ROOT / "__init__.py"]
    assert {room(module_of(path)) for path in files} <= {*ROOMS, "backend"}
    assert broken(lambda path: path in files and upward(path)) == {}


def test_no_file_imports_itself_through_others() -> None:
    assert not cycles(modules())


def test_each_heavy_library_has_one_owner() -> None:
    assert broken(foreign) == {}


def test_rooms_do_not_know_what_is_not_theirs() -> None:
    assert broken(known_but_forbidden) == {}


def test_the_store_alone_changes_files_of_a_run_directory() -> None:
    assert broken(file_changes) == {}


def test_what_flows_between_worker_backend_and_study_is_typed() -> None:
    """What may hold anything: Ray's plain data, Optuna's objects, the space as YAML and environment.json."""
    untyped = {"study/tasks.py", "study/proposals.py", "study/resume.py", "worker/environment.py"}
    paths = {name_of(path) for path in modules() if "typing.Any" in names_of(path)}
    assert {name for name in paths if name.startswith(("study/", "worker/"))} <= untyped


def test_files_are_short_and_say_what_they_are() -> None:
    lengths = {name_of(path): path.read_text().count("\n") for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}
    assert broken(lambda path: bool(parsed(path).body) and not ast.get_docstring(parsed(path))) == {}


def test_rooms_are_small() -> None:
    sizes = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert max(sizes.values()) <= LARGEST_ROOM, sizes.most_common(1)


def test_no_two_files_and_no_two_public_classes_share_a_name() -> None:
    files = Counter(path.stem for path in modules() if path.name != "__init__.py")
    classes = Counter(
        node.name
        for path in modules()
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name: count for name, count in (files + classes).items() if count > 1} == {}


@pytest.mark.parametrize(
    ("file", "line", "check"),
    [
        ("study/state.py", "import ray", known_but_forbidden),
        ("study/state.py", "import torch", known_but_forbidden),
        ("study/controller.py", "from pathlib import Path", known_but_forbidden),
        ("study/controller.py", "from raggrid.store.tables import read", known_but_forbidden),
        ("store/storage.py", "import os", known_but_forbidden),
        ("worker/run_task.py", "run.rename(other)", file_changes),
        ("finetune/checkpoints.py", "folder.mkdir()", file_changes),
        ("worker/build.py", "import ray", known_but_forbidden),
        ("worker/build.py", "import faiss", foreign),
        ("records.py", "from raggrid.identity import PhaseRun", upward),
        ("identity.py", "from raggrid.costs import Costs", upward),
        ("analysis/rule.py", "from raggrid.show.layout import console", upward),
        ("backend/ray/searcher.py", "from raggrid.backend.simulator.replay import Replay", upward),
    ],
)
def test_the_rules_can_fail(tmp_path: Path, file: str, line: str, check: object) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{line}\n")
    assert callable(check)
    assert check(path, tmp_path)


def test_a_cycle_inside_a_room_is_found(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    pair = [tmp_path / "study" / "one.py", tmp_path / "study" / "two.py"]
    pair[0].write_text("from raggrid.study.two import x\n")
    pair[1].write_text("from raggrid.study.one import y\n")
    assert cycles(pair, tmp_path)
