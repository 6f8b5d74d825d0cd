"""A large corpus is read once and then mapped: equal to one in memory, the same hash, the same problems told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raggrid.data import corpus as corpora
from raggrid.data.corpus import Corpus, places_of
from raggrid.data.folder import read_folder
from raggrid.data.sampling import sampled
from raggrid.demo import make_world, write_world
from raggrid.errors import DataError
from raggrid.records import Passage
from tests.data.test_data import PASSAGES, QUESTION, problems, write

LARGE = 40_000  # passages of a kilobyte


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, which takes corpora of any size."""
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "SHARED_BYTES", 0)
    return tmp_path / "cache"


def hash_of_json(folder: Path) -> str:
    """The content hash as the first release wrote it down: each record as an object in JSON, one after the other."""
    data, digest = read_folder(folder), hashlib.sha256()
    for passage in data.passages:
        row = {"id": passage.id, "text": passage.text, "title": passage.title}
        digest.update(json.dumps(row, ensure_ascii=False).encode())
    for name, questions in sorted(data.splits.items()):
        digest.update(name.encode())
        for question in questions:
            asked = {key: getattr(question, key) for key in ("answers", "context_ids", "id", "question")}
            digest.update(json.dumps(asked, ensure_ascii=False).encode())
    return digest.hexdigest()


def test_a_mapped_corpus_equals_the_one_in_memory(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(0, num_entities=20)
    write_world(world, tmp_path / "data")
    mapped = read_folder(tmp_path / "data")
    assert isinstance(mapped.passages, Corpus)
    assert mapped.passages.digest is not None
    assert mapped.passages == world.passages
    assert [mapped.passages[place] for place in range(len(world.passages))] == list(world.passages)
    assert mapped.passages[-1] == world.passages[-1]
    assert mapped.passages[2:5] == world.passages[2:5]
    monkeypatch.setattr(corpora, "SHARED_BYTES", 1 << 30)
    plain = read_folder(tmp_path / "data")
    assert isinstance(plain.passages, Corpus)
    assert plain.passages.digest is None
    assert plain == mapped


def test_the_content_hash_is_that_of_the_first_release(tmp_path: Path, cache: Path) -> None:
    odd = {"id": 7, "title": 'A "quoted"\\ title', "text": " tab\there, \u0001 é 日本 \u2028 end\n"}
    folder = write(tmp_path / "data", corpus=[*PASSAGES, odd])
    assert read_folder(folder).content_hash == hash_of_json(folder)
    assert read_folder(folder).passages[2] == Passage(id="7", title=odd["title"], text=odd["text"].strip())  # type: ignore[arg-type, attr-defined]


def test_a_corpus_is_read_once_and_again_where_its_file_has_changed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data")
    first = read_folder(folder)
    with monkeypatch.context() as patch:
        patch.setattr("raggrid.data.folder.checked_passages", lambda *_: pytest.fail("the corpus is read again"))
        patch.setattr(corpora, "_hash", lambda *_: pytest.fail("the corpus is hashed again"))
        assert read_folder(folder) == first
        (tmp_path / "copy").mkdir()
        for file in folder.iterdir():
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
        assert read_folder(tmp_path / "copy") == first
    write(tmp_path / "data", corpus=[*PASSAGES, {"id": "p3", "text": "New."}])
    assert len(read_folder(folder).passages) == 3


def test_a_wrong_corpus_is_told_whole_and_not_kept(tmp_path: Path, cache: Path) -> None:
    folder = write(
        tmp_path / "data",
        corpus=[*PASSAGES, PASSAGES[0], {"id": "p4", "text": " "}, "{", PASSAGES[1]],
        train=[{**QUESTION, "context_ids": ["p1", "p9"]}],
    )
    for _ in range(2):
        told = "\n".join(problems(folder))
        assert "corpus.jsonl:3 (the first of 2 such rows): id 'p1' appears twice in the corpus" in told
        assert "corpus.jsonl:4: text: got ' '; a passage needs text." in told
        assert "corpus.jsonl:5: not JSON" in told
        assert "train.jsonl:1: context_ids names 'p9', which is not in corpus.jsonl" in told
    assert not list(cache.glob("corpora/*.arrow"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="Set RAGGRID_CACHE to a folder with room for the corpus"):
        read_folder(write(tmp_path / "data"))


def test_places_are_found_in_a_corpus_and_in_any_sequence(tmp_path: Path, cache: Path) -> None:
    world = make_world(0, num_entities=20)
    write_world(world, tmp_path)
    ids = [world.passages[place].id for place in (4, 0, 17)]
    for passages in (world.passages, read_folder(tmp_path).passages):
        assert places_of(passages, [*ids, "nowhere"]) == dict(zip(ids, (4, 0, 17), strict=True))
        assert places_of(passages, []) == {}
    with pytest.raises(IndexError, match="got a corpus of"):
        _ = read_folder(tmp_path).passages[10**6]


def test_a_sample_of_very_many_rows_is_drawn_without_listing_them() -> None:
    few, more = sampled(range(10**8), 5), sampled(range(10**8), 50)
    assert len(few) == 5
    assert set(few) < set(more)
    assert list(more) == sorted(more)
    assert max(more) > 5 * 10**7


READ_SOME_ROWS = """
import json, sys
import pyarrow, numpy
from pathlib import Path
from raggrid.data.corpus import Corpus

def anonymous():  # kB of memory that this process does not share
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

before = anonymous()
corpus = Corpus(Path(sys.argv[1]))
texts = [corpus[row].text for row in range(0, len(corpus), len(corpus) // 10)]
print(json.dumps([len(corpus), len(texts[1]), anonymous() - before]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_a_process_that_reads_a_few_rows_keeps_no_memory_of_its_own(tmp_path: Path, cache: Path) -> None:
    text = "word " * 200
    rows = ((f"p{number}", "", f"{number:05} {text}") for number in range(LARGE))
    corpora._write(rows, str(tmp_path / "large.arrow"))
    size = (tmp_path / "large.arrow").stat().st_size
    command = [sys.executable, "-c", READ_SOME_ROWS, str(tmp_path / "large.arrow")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    count, length, private_kilobytes = json.loads(done.stdout)
    assert (count, length) == (LARGE, len(text) + 6)
    assert 1024 * private_kilobytes < size / 8, done.stdout
