"""Passages are embedded in parts: equal to all at once, not lost to a kill, and not made twice for two studies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raggrid.data import corpus as corpora
from raggrid.display_names import told_index
from raggrid.rag import approximate
from raggrid.rag.embedder import Embedder
from raggrid.records import Status
from raggrid.store.files import files_at
from raggrid.store.run_directory import RunDirectory
from raggrid.store.run_layout import CODES, NEGATIVES, PARTS, SEARCH, VECTORS
from raggrid.store.tables import create_run, read_measured_index
from raggrid.study.tasks import IndexTask
from raggrid.worker import embed_corpus
from raggrid.worker.build import inputs, passage_index
from tests.conftest import SpaceMaker
from tests.processes import wait_until
from tests.trials import done, prepared_run

ROWS = 16


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_corpus, "PART_ROWS", ROWS)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of passages of each call that embeds some."""
    counts, encode = list[int](), Embedder.encode_passages

    def encoding(self: Embedder, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        counts.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(Embedder, "encode_passages", encoding)
    return counts


def test_parts_hold_what_one_file_holds(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted = prepared_run(tmp_path / "parts", make_space())
    vectors = passage_index(files_at(parted)).vectors
    assert RunDirectory(parted).is_indexed()
    assert not (parted / VECTORS).exists()
    monkeypatch.setattr(embed_corpus, "PART_ROWS", 1 << 14)
    whole = prepared_run(tmp_path / "whole", make_space())
    assert RunDirectory(whole).is_indexed()
    assert len(list((parted / PARTS).iterdir())) == -(-len(vectors) // ROWS) > 3
    np.testing.assert_allclose(vectors[:], np.load(whole / VECTORS), rtol=0, atol=1e-6)
    asked = vectors[5:9]
    assert passage_index(files_at(parted)).search(asked, 3).tolist() == (
        passage_index(files_at(whole)).search(asked, 3).tolist()
    )


def test_shards_leave_the_index_task_nothing_to_embed(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = passage_index(files_at(prepared_run(tmp_path / "one", make_space()))).vectors[:]
    inputs.cache_clear()
    passage_index.cache_clear()
    create_run(tmp_path / "shards", make_space(), {})
    counts = counted(monkeypatch)
    for place in (2, 0, 1):
        (report,) = done(IndexTask(f"index#{place + 1}", place, 3), tmp_path / "shards")
        assert report.status == Status.COMPLETED
        assert not RunDirectory(tmp_path / "shards").is_indexed()
    embedded = sum(counts)
    done(IndexTask(), tmp_path / "shards")
    assert RunDirectory(tmp_path / "shards").is_indexed()
    assert sum(counts) == embedded == len(one)
    np.testing.assert_allclose(passage_index(files_at(tmp_path / "shards")).vectors[:], one, rtol=0, atol=1e-6)


SLOWLY = """
import sys, time
from raggrid.finetune.workers import Worker
from raggrid.rag.embedder import Embedder
from raggrid.study.tasks import Dispatch, IndexTask
from raggrid.worker import embed_corpus
from raggrid.worker.run_task import run_task

embed_corpus.PART_ROWS, encode = int(sys.argv[2]), Embedder.encode_passages

def slow(self, texts):
    vectors = encode(self, texts)
    time.sleep(0.5)
    return vectors

Embedder.encode_passages = slow
run_task(Dispatch(task=IndexTask(), run_dir=sys.argv[1]), Worker(report=print))
"""


@pytest.mark.slow
def test_a_kill_while_passages_are_embedded_loses_one_part_at_most(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    inputs.cache_clear()
    passage_index.cache_clear()
    create_run(run, make_space(), {})
    begun = subprocess.Popen([sys.executable, "-c", SLOWLY, str(run), str(ROWS)], start_new_session=True)
    try:
        wait_until(lambda: len(list(run.glob(f"{PARTS}/[0-9]*.npy"))) >= 2, "two parts are embedded")
    finally:
        os.kill(begun.pid, signal.SIGKILL)
        begun.wait()
    assert not RunDirectory(run).is_indexed()
    finished = len(list(run.glob(f"{PARTS}/[0-9]*.npy")))
    counts = counted(monkeypatch)
    done(IndexTask(), run)
    assert RunDirectory(run).is_indexed()
    total = len(inputs(files_at(run))[1].passages)
    assert sum(counts) == total - finished * ROWS
    assert len(passage_index(files_at(run))) == total


def test_a_study_with_an_approximate_index_searches_it_and_says_what_it_finds(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None
) -> None:
    space = make_space(
        retrieval={"top_k": 2, "index": "ivfrabitq", "vectors": "float16"}, training={"labels": {"hard_negatives": 2}}
    )
    run = prepared_run(tmp_path / "run", space)
    told = read_measured_index(run)
    assert told is not None
    assert told["kind"] == "ivfrabitq"
    assert told["recall"] >= approximate.AIM
    assert told["num_questions"] == 80
    assert told_index(told) == (
        f"Index: ivfrabitq, {told['factory']}, 0 MB; finds {100 * told['recall']:.1f}% of the first 2 passages of "
        "exact search (80 training questions)."
    )
    assert not (run / CODES).exists()
    assert len(json.loads((run / NEGATIVES).read_text())) == 80
    index = passage_index(files_at(run))
    assert index.vectors[:].dtype == np.float32
    assert next((run / PARTS).glob("*.npy")).stat().st_size < 4 * ROWS * index.vectors.dimension
    asked = index.vectors[3:7]
    assert index.search(asked, 1).ravel().tolist() == [3, 4, 5, 6]


def test_an_index_whose_building_was_cut_goes_on_with_the_parts_that_lack(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    inputs.cache_clear()
    passage_index.cache_clear()
    create_run(run, make_space(retrieval={"top_k": 2, "index": "ivf"}), {})
    encode, calls = approximate.encoded, list[int]()

    def encoding(*given: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(approximate, "encoded", encoding)
    with pytest.raises(KeyboardInterrupt):
        done(IndexTask(), run)
    assert not (run / SEARCH).exists()
    embedded = counted(monkeypatch)
    done(IndexTask(), run)
    parts = -(-len(passage_index(files_at(run))) // ROWS)
    assert embedded == []
    assert len(calls) == parts + 1  # the one that was cut


def test_two_studies_of_a_large_corpus_embed_it_once(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "SHARED_BYTES", 0)
    space = make_space(retrieval={"top_k": 2, "index": "ivf"})
    first = prepared_run(tmp_path / "first", space)
    counts = counted(monkeypatch)
    monkeypatch.setattr(approximate, "trained", lambda *_: pytest.fail("the index is built again"))
    second = prepared_run(tmp_path / "second", space)
    assert counts == []
    for name in sorted(path.relative_to(first) for path in (first / PARTS).iterdir()):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).stat().st_ino == (second / name).stat().st_ino
    asked = passage_index(files_at(first)).vectors[:4]
    found = [passage_index(files_at(run)).search(asked, 3).tolist() for run in (first, second)]
    assert found[0] == found[1]
    prompted = {"passage_prompt": "passage: "}
    monkeypatch.undo()
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "SHARED_BYTES", 0)
    monkeypatch.setattr(embed_corpus, "PART_ROWS", ROWS)
    counts = counted(monkeypatch)
    prepared_run(tmp_path / "third", make_space(models=prompted))
    assert sum(counts) == len(passage_index(files_at(first)))


def test_few_passages_for_an_index_that_has_to_learn_are_said(
    tmp_path: Path, make_space: SpaceMaker, small_parts: None
) -> None:
    run = tmp_path / "run"
    inputs.cache_clear()
    create_run(run, make_space(retrieval={"top_k": 2, "index": "ivfpq"}), {})
    (report,) = done(IndexTask(), run)
    assert "passages; expected more of them" in str(report.error)
