"""The tutorial's notebook runs from its first cell to its last, shows its search, and can be interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs.generate import FOLDER
from raggrid.report.notebook_view import VIEWS
from raggrid.space.yaml_io import dump_space
from tests.conftest import SpaceMaker

pytestmark = pytest.mark.slow
nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")


def notebook(folder: Path, make_space: SpaceMaker, **changes: object) -> Any:
    """The tutorial on tiny models: its space is replaced, all else stays."""
    made = nbformat.read(FOLDER / "tutorial.ipynb", as_version=4)
    strategies = ["baseline", "embedder", "generator", "independent"]
    (folder / "tiny.yaml").write_text(dump_space(make_space(strategies=strategies, name="notebook", **changes)))
    (own,) = tagged(made, "space")
    own.source = 'import shutil\nshutil.copy("tiny.yaml", "notebook.yaml")\noverrides = []'
    return made


def tagged(made: Any, tag: str) -> list[Any]:
    return [cell for cell in made.cells if tag in cell.metadata.get("tags", [])]


def outputs(cells: Any) -> list[Any]:
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_notebook_runs_and_shows_its_results(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    made = notebook(tmp_path, make_space)
    nbclient.NotebookClient(made, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (search,) = tagged(made, "search")
    shown = [o for o in outputs([search]) if o.output_type == "display_data" and "text/html" in o.data]
    assert len(shown) == 1  # redrawn in place
    assert "100%" in shown[0].data["text/plain"]
    results = [
        o.data["text/html"] for o in outputs(made.cells) if o.output_type == "execute_result" and "text/html" in o.data
    ]
    assert len(results) == len(VIEWS) + 1  # the recommendation, the frontier, the study, a table of pandas
    assert (tmp_path / "notebook-report.html").is_file()


def test_a_search_in_a_cell_can_be_interrupted(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    made = notebook(tmp_path, make_space, training={"rag": {"steps": 3000, "batch_size": 2}})
    made.cells = made.cells[: made.cells.index(tagged(made, "search")[0]) + 1]
    made.cells = [nbformat.v4.new_code_cell(STOP), *made.cells]
    client = nbclient.NotebookClient(made, timeout=400, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(nbclient.exceptions.CellExecutionError, match=r"StudyInterrupted.*interrupted after"):
        client.execute()
    assert (tmp_path / "runs" / "notebook" / "space.yaml").is_file()


# What a press of the button does, once the study trains.
STOP = """
import os, pathlib, signal, threading, time

def press():
    while not list(pathlib.Path("runs/notebook/ledger").glob("*.parquet")):
        time.sleep(0.2)
    time.sleep(2.0)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
"""
