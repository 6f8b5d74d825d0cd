"""Makes a run directory of this release, to be opened by every later one: ``python -m tests.assets.make_run NAME``.

Run it in the repository's folder, once per release; a run directory that is there stays as it is. With ``--micro`` it
first makes the world and the models that all of them are about.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from raggrid.backend.ray.search import search
from raggrid.demo import write_world
from raggrid.demo.world import World
from raggrid.records import Passage, Question
from raggrid.space.yaml_io import load_space
from tests import tiny

ASSETS = Path("tests/assets")
MICRO = ASSETS / "micro"


def micro_world() -> World:
    """Who lives where, 24 times: half of the questions train."""
    rng = Random(0)
    syllables = [head + tail for head in "bdfgklmnprstvz" for tail in "aeiou"]
    passages, questions = [], []
    for place in range(24):
        name, town = ("".join(rng.sample(syllables, count)).capitalize() for count in (3, 2))
        passages.append(Passage(id=f"p{place:02}", title=name, text=f"{name} lives in {town}."))
        asked = f"Where does {name} live?"
        questions.append(Question(id=f"q{place:02}", question=asked, answers=(town,), context_ids=(f"p{place:02}",)))
    splits = {"train": questions[:12], "validation": questions[12:18], "test": questions[18:]}
    return World(tuple(passages), {name: tuple(rows) for name, rows in splits.items()})


def make_micro() -> None:
    """The world, and models of one layer and 16 dimensions."""
    tiny.HIDDEN_SIZE, tiny.GENERATOR_LAYERS, tiny.EMBEDDER_LAYERS = 16, 1, 1
    tiny.GENERATOR_TOKENS = tiny.EMBEDDER_TOKENS = 300
    tiny.GENERATOR_POSITIONS, tiny.EMBEDDER_POSITIONS = 128, 64
    write_world(micro_world(), MICRO / "world")
    tiny.make_tiny_models(MICRO, micro_world())


def tidy(run: Path) -> None:
    """Leave out what says where the run was made, and put each table into one file."""
    for path in (*run.glob(".*"), *run.rglob("README.md")):
        path.unlink()
    for path in (run / "space.yaml", *run.rglob("adapter_config.json")):
        path.write_text(re.sub(r"/\S*/(?=tests/assets/)", "", path.read_text()))
    about = json.loads((run / "environment.json").read_text())
    text = json.dumps({**about, "platform": "", "processor": ""}, indent=2)
    (run / "environment.json").write_text(f"{text}\n")
    for folder in {path.parent for path in run.rglob("*.parquet")}:
        first, *more = sorted(folder.glob("*.parquet"))
        table = pa.concat_tables([pq.ParquetFile(file).read() for file in (first, *more)])
        pq.write_table(table, first)
        for file in more:
            file.unlink()


def make_run(name: str) -> None:
    """Run the micro study into ``tests/assets/NAME``."""
    run = ASSETS / name
    search(load_space(MICRO / "space.yaml"), run)
    shutil.rmtree(run / "ray", ignore_errors=True)
    tidy(run)


if __name__ == "__main__":
    if "--micro" in sys.argv:
        make_micro()
    make_run(sys.argv[1])
