"""The paper's study in miniature: its space as it is, with tiny models, over a corpus made by code, on several nodes.

    .venv/bin/python -m benchmarks.paper_study [--passages 20000] [--nodes 2] [--workers 2]
    .venv/bin/python -m benchmarks.paper_study --passages 1000000 --nodes 4 --workers 8

`search_spaces/paper.yaml`: nine rates per model, six strategies, QLoRA in NF4, one epoch, five passages per question,
`ivfrabitq` over float16 vectors. Other than there: a Llama and a BERT with 0.2 M random parameters each, CPUs, and
data. The nodes are Ray nodes on this machine; a trial takes all workers, which lie on all of them. The questions are
about a made-up world, whose passages stand among sentences of the same words. Random models answer nothing right: what
is shown is that the study ends with a recommendation, what its parts take, and what memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks.ray_cluster import Cluster, cluster
from raggrid.demo.world import World, make_world, write_world
from raggrid.records import LedgerRecord, TrialRecord
from raggrid.store.tables import read, read_measured_index
from tests.background import meanwhile
from tests.processes import RAGGRID
from tests.tiny import make_tiny_models

SPACE = Path(__file__).parents[1] / "search_spaces" / "paper.yaml"
ENTITIES = 240
WORDS = 24  # per passage; a tiny model reads few positions
POSITIONS = 8192  # of Llama 3, whose positions are rotations: no weights belong to them
SAMPLED_SECONDS = 2.0
LIMITS = '{"train": 64, "validation": 32, "test": 32}'


def make_inputs(folder: Path, passages: int) -> tuple[Path, Path]:
    """Write data and models; the folders of the embedder and the generator."""
    world = make_world(0, num_entities=ENTITIES)
    write_world(world, folder / "data")
    with (folder / "data" / "corpus.jsonl").open("a") as file:
        file.writelines(sentences(world, passages - len(world.passages)))
    embedder, generator = make_tiny_models(folder / "models", world)
    config = generator / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": POSITIONS}))
    return embedder, generator


def sentences(world: World, count: int) -> Iterator[str]:
    """``count`` rows of a corpus, each with its own words of the world's."""
    words = np.array(sorted({word for passage in world.passages for word in passage.text.split()}))
    generator = np.random.default_rng(0)
    for number in range(count):
        text = " ".join(words[generator.integers(0, len(words), WORDS)])
        yield json.dumps({"id": f"s{number}", "title": f"Page {number}", "text": text}) + "\n"


def command(folder: Path, run: Path, place: Cluster, workers: int, settings: list[str]) -> list[str | Path]:
    """The search as a user types it."""
    given = [
        f"data.folder={folder / 'data'}", f"data.limits={LIMITS}", f"models.embedder={folder / 'models/embedder'}",
        f"models.generator={folder / 'models/generator'}", f"resources.workers={workers}",
        "resources.gpus_per_worker=0", *settings,
    ]  # fmt: skip
    sets = [word for setting in given for word in ("--set", setting)]
    return [RAGGRID, "search", SPACE, "--run", run, "--address", place.address, "--plain", *sets]


@contextmanager
def memory_of(place: Cluster) -> Iterator[dict[str, float]]:
    """The most that all nodes' processes held at once, in GB: pages that several map are divided among them."""
    most, ended = {"nodes": 0.0, "largest process": 0.0}, threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLED_SECONDS):
            held = [_held(process) for node in place.nodes.values() for process in _all_of(node.pid)]
            most["nodes"] = max(most["nodes"], sum(held))
            most["largest process"] = max([most["largest process"], *held])

    with meanwhile(watch, ended):
        yield most


def _all_of(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _held(process: psutil.Process) -> float:
    with suppress(psutil.Error, OSError):
        rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) * 1024 / 1e9
    return 0.0


def tell(run: Path, seconds: float, most: dict[str, float]) -> None:
    """What the study's records say it did and took."""
    trials = Counter(str(row.status) for row in read(run, TrialRecord))
    spent: dict[str, float] = {}
    for row in read(run, LedgerRecord):
        spent[str(row.category)] = spent.get(str(row.category), 0.0) + row.device_seconds
    print(f"{seconds:,.0f} s of wall time; {sum(trials.values())} trials: {dict(trials)}")
    print("device-seconds: " + ", ".join(f"{name} {value:,.0f}" for name, value in spent.items()))
    print(f"index: {read_measured_index(run)}")
    print(f"memory in GB: {', '.join(f'{name} {value:.2f}' for name, value in most.items())}")


def main(passages: int, nodes: int, workers: int, settings: list[str]) -> None:
    """Make the inputs, run the study, print what it took and what it recommends."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ |= {"RAGGRID_CACHE": str(folder / "cache"), "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
        make_inputs(folder, passages)
        size = (folder / "data" / "corpus.jsonl").stat().st_size / 1e6
        print(f"{passages:,} passages, {size:,.0f} MB; {workers} workers on {nodes} nodes", flush=True)
        with cluster(nodes, cpus=-(-workers // nodes)) as place, memory_of(place) as most:
            began = time.perf_counter()
            study = subprocess.run(command(folder, folder / "run", place, workers, settings), check=False)
            seconds = time.perf_counter() - began
        if study.returncode:
            sys.exit(study.returncode)
        tell(folder / "run", seconds, most)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    main(given.passages, given.nodes, given.workers, given.settings)
