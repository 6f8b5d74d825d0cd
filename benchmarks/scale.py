"""What a corpus of millions of passages costs: reading it, holding it, searching it.

    .venv/bin/python -m benchmarks.scale corpus --rows 5000000
    .venv/bin/python -m benchmarks.scale processes --rows 5000000
    .venv/bin/python -m benchmarks.scale exact --rows 1000000
    .venv/bin/python -m benchmarks.scale approximate --rows 5000000 --index ivfpq
    .venv/bin/python -m benchmarks.scale prepare --rows 1000000

`processes --keep benchmarks/scale.json` adds what it measures to the rows that docs/scale.md is computed from. Corpus
and vectors are made by code in a folder (--folder) that later runs use again. Vectors of passages are a mixture:
200 fields, in them 20,000 topics of sizes that follow Zipf's law, and around each topic noise whose spectrum falls as a
power law, so that few directions carry most of it. A question is a passage with as much noise of the same kind as
leaves a cosine of 0.75, between what embedders give paraphrases and unrelated texts.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import faiss
import numpy as np

from raggrid.data import corpus as corpora
from raggrid.data.corpus import Corpus
from raggrid.data.folder import read_folder
from raggrid.data.preparing import prepare_data
from raggrid.rag import approximate
from raggrid.rag.approximate import Approximate
from raggrid.rag.index import Index, exact_search
from raggrid.rag.vectors import Floats, Vectors
from raggrid.worker.embed_corpus import PART_ROWS

DIMENSION, FIELDS, TOPICS = 384, 200, 20_000
TOPIC_WEIGHT, NOISE_WEIGHT, QUESTION_COSINE = 0.6, 0.65, 0.75
BATCH, K = 64, 5
PROCESSES = 4


# What is made


def mixture(rows: int, seed: int) -> Floats:
    """(rows, D) passage vectors of length one."""
    generator, sizes = np.random.default_rng((1, seed)), 1.0 / np.arange(1, TOPICS + 1) ** 0.7
    chosen = generator.choice(TOPICS, rows, p=sizes / sizes.sum())
    return _unit(_topics()[chosen] + NOISE_WEIGHT / 0.78 * _noise(generator, rows))


@cache
def _topics() -> Floats:
    fixed = np.random.default_rng(0)
    fields = _unit(fixed.standard_normal((FIELDS, DIMENSION), dtype=np.float32))
    parts = _unit(fixed.standard_normal((TOPICS, DIMENSION), dtype=np.float32))
    return _unit(0.5 * fields[fixed.integers(0, FIELDS, TOPICS)] + TOPIC_WEIGHT * parts)


def _noise(generator: np.random.Generator, rows: int) -> Floats:
    spectrum = np.arange(1, DIMENSION + 1, dtype=np.float32) ** -0.4
    return _unit(generator.standard_normal((rows, DIMENSION), dtype=np.float32) * spectrum)


def questions(vectors: Vectors, count: int) -> Floats:
    """(count, D) vectors, each near one passage."""
    generator = np.random.default_rng(2)
    near = vectors[generator.integers(0, len(vectors), count)]
    noise = _noise(generator, count)
    return _unit(QUESTION_COSINE * near + np.sqrt(1 - QUESTION_COSINE**2) * noise)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def made_vectors(folder: Path, rows: int, dtype: str) -> Vectors:
    """Mapped parts of ``rows`` vectors, as the index task leaves them; made where they are missing."""
    place = folder / f"vectors-{dtype}"
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, start in enumerate(range(0, rows, PART_ROWS)):
        size = min(PART_ROWS, rows - start)
        paths.append(place / f"{number:05}-{size}.npy")
        if not paths[-1].exists():
            np.save(paths[-1], mixture(PART_ROWS, number)[:size].astype(dtype))
    return Vectors.mapped(paths)


def made_corpus(folder: Path, rows: int) -> Path:
    """A folder of JSON lines: passages of 100 words, as DPR cut Wikipedia, and three questions."""
    place = folder / f"corpus-{rows}"
    if not (place / "validation.jsonl").exists():
        place.mkdir(parents=True, exist_ok=True)
        with (place / "corpus.jsonl").open("w") as file:
            for start in range(0, rows, PART_ROWS):
                file.write("".join(_lines(start, min(rows, start + PART_ROWS))))
        for split in ("train", "validation"):
            asked = {"question": "Who?", "answers": ["Ann"], "context_ids": [f"p{rows - 1}"]}
            lines = [json.dumps({"id": f"{split}{number}", **asked}) for number in range(3)]
            (place / f"{split}.jsonl").write_text("\n".join(lines))
    return place


def _lines(first: int, end: int) -> Iterator[str]:
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ser", "ton") for b in ("ra", "n", "st", "dely", "mo", "ent", "ar")]
    chosen = np.random.default_rng(first).integers(0, len(words), (1000, 100))
    texts = [" ".join(words[n] for n in row) for row in chosen]
    for number in range(first, end):
        text = f"{number} {texts[number % 1000]}"
        yield json.dumps({"id": f"p{number}", "title": f"Title {number % 9973}", "text": text}) + "\n"


# What is measured


def measure_corpus(folder: Path, rows: int) -> None:
    """Reading, checking and hashing, the first time and again: CPU seconds, and the most memory."""
    place = made_corpus(folder, rows)
    for when in ("first", "again"):
        began, wall = time.process_time(), time.perf_counter()
        data = read_folder(place)
        seconds, waited = time.process_time() - began, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rate = len(data.passages) / seconds
        print(f"{when}: {len(data.passages):,} passages, {seconds:.2f} CPU s ({rate:,.0f} per second), {waited:.2f} s "
              f"of wall time; at most {peak:.2f} GB resident, mapped pages included; {_memory()}")  # fmt: skip
    assert isinstance(data.passages, Corpus)
    began = time.process_time()
    corpora.repeated_ids(data.passages)
    print(f"of it, looking for repeated ids: {time.process_time() - began:.2f} CPU s")


def _memory() -> dict[str, float]:
    """Megabytes of this process: its own, and its share of what it maps (each page divided by who maps it)."""
    rows = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    value = {name: int(text.split()[0]) / 1e3 for name, text in rows.items()}
    return {"rss": value["Rss"], "pss": value["Pss"], "own": value["Private_Dirty"]}


def _trial(place: str, vectors_of: tuple[str, int, str], index: str | None, ready, measured, answers) -> None:  # type: ignore[no-untyped-def]
    """What a trial process holds: the data, the vectors, an index; it searches, reads, then says what it takes."""
    empty, began = _memory(), time.perf_counter()
    data = read_folder(Path(place))
    folder, rows, dtype = vectors_of
    vectors = made_vectors(Path(folder), rows, dtype)
    searcher = Approximate(approximate.load(Path(index), mapped=True), vectors, 32) if index else None
    started = time.perf_counter() - began
    found = Index(vectors, searcher).search(questions(vectors, BATCH), K)
    texts = [data.passages[row].text for row in found.ravel().tolist()]
    ready.wait()
    now = _memory()
    measured.wait()
    answers.put({"start": started, "texts": len(texts), "empty": empty, **now})


def measure_processes(folder: Path, rows: int, dtype: str, index: str | None, keep: Path | None = None) -> None:
    """One process, then several at once: resident memory with shared pages divided among them, and how they start."""
    place = str(made_corpus(folder, rows))
    read_folder(Path(place))
    made_vectors(folder, rows, dtype)
    context = multiprocessing.get_context("spawn")
    totals = {}
    for count in (1, PROCESSES):
        ready, measured, answers = context.Barrier(count), context.Barrier(count), context.Queue()
        given = (place, (str(folder), rows, dtype), index, ready, measured, answers)
        started = [context.Process(target=_trial, args=given) for _ in range(count)]
        for process in started:
            process.start()
        told = [answers.get() for _ in started]
        for process in started:
            process.join()
        totals[count] = sum(row["pss"] for row in told)
        empty = sum(row["empty"]["pss"] for row in told)
        print(f"{count} processes: {totals[count]:,.0f} MB, of which libraries {empty:,.0f} MB and own memory "
              f"{sum(row['own'] - row['empty']['own'] for row in told):,.0f} MB beyond them; "
              f"ready after {max(row['start'] for row in told):.2f} s")  # fmt: skip
    print(f"{PROCESSES} processes take {totals[PROCESSES] / totals[1]:.2f} times what one takes")
    if keep:
        held = {"rows": rows, "processes": PROCESSES, "resident_mb": round(totals[PROCESSES]),
                "libraries_mb": round(empty), "start_seconds": round(max(row["start"] for row in told), 2),
                "corpus_mb": round(sum(p.stat().st_size for p in Path(place).glob("corpus.jsonl")) / 1e6),
                "index_mb": round(Path(index).stat().st_size / 1e6) if index else 0}  # fmt: skip
        others = [row for row in json.loads(keep.read_text()) if row["rows"] != rows] if keep.exists() else []
        kept = sorted([*others, held], key=lambda row: row["rows"])
        keep.write_text(json.dumps(kept, indent=1) + "\n")


def measure_prepare(folder: Path, rows: int) -> None:
    """A dump of Wikipedia as DPR has it, packed, to raggrid's form: rows per CPU second, and the most memory."""
    folder.mkdir(parents=True, exist_ok=True)
    dump, made = folder / f"psgs-{rows}.tsv.gz", folder / f"prepared-{rows}"
    if not dump.exists():
        with gzip.open(dump, "wt", compresslevel=1, encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(("id", "text", "title"))
            for line in _lines(0, rows):
                row = json.loads(line)
                writer.writerow((row["id"], row["text"], row["title"]))
    shutil.rmtree(made, ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, time.process_time()
    told = prepare_data("wikipedia", str(dump), made)
    seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{told.passages:,} passages, {dump.stat().st_size / 1e6:,.0f} MB packed, in {seconds:.1f} CPU s "
          f"({told.passages / seconds:,.0f} per second); at most {peak:,.0f} MB resident, {before:,.0f} before; "
          f"corpus.jsonl has {(made / 'corpus.jsonl').stat().st_size / 1e6:,.0f} MB")  # fmt: skip


def measure_exact(folder: Path, rows: int, dtype: str) -> None:
    """Search over the map against faiss's flat index: the fastest of several runs of each, one after the other."""
    vectors = made_vectors(folder, rows, dtype)
    asked = questions(vectors, BATCH)
    flat = faiss.IndexFlatIP(DIMENSION)
    for _, block in vectors.blocks():
        flat.add(block)
    ours, theirs = [], []
    for _ in range(7):
        began = time.perf_counter()
        expected = flat.search(asked, K)[1]
        theirs.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = exact_search(vectors, asked, K)
        ours.append(time.perf_counter() - began)
    assert found.tolist() == expected.tolist()
    print(f"{rows:,} {dtype}: {min(ours):.3f} s against faiss {min(theirs):.3f} s, {min(ours) / min(theirs):.2f}; "
          f"equal passages; {faiss.omp_get_max_threads()} thread(s)")  # fmt: skip


def measure_approximate(folder: Path, rows: int, dtype: str, kind: str) -> None:
    """Build an index, compare it with exact search, time questions one by one on one core, and say what it holds."""
    vectors, factory = made_vectors(folder, rows, dtype), approximate.factory_of(kind, rows, DIMENSION)
    path = folder / f"{kind}-{rows}.faiss"
    if not path.exists():
        began = time.perf_counter()
        index = approximate.trained(factory, vectors)
        print(f"{factory}: trained in {time.perf_counter() - began:,.0f} s", flush=True)
        began = time.perf_counter()
        codes = (approximate.encoded(index, vectors[n : min(n + PART_ROWS, rows)]) for n in range(0, rows, PART_ROWS))
        approximate.save(approximate.filled(index, codes), path)
        print(f"filled in {time.perf_counter() - began:,.0f} s", flush=True)
        del index
    faiss.omp_set_num_threads(1)
    before = _memory()
    index = approximate.load(path, mapped=True)
    told = approximate.measured(index, factory, vectors, questions(vectors, 256), K, path.stat().st_size)
    print(told, flush=True)
    asked, seconds = questions(vectors, 512)[256:], []
    searcher = Approximate(index, vectors, told.effort, told.candidates)
    for row in asked:
        began = time.perf_counter()
        searcher.search(row[None], K)
        seconds.append(time.perf_counter() - began)
    own, (middle, most) = _memory()["own"] - before["own"], 1000 * np.quantile(seconds, (0.5, 0.95))
    print(f"{rows:,} by {factory}: {middle:.2f} ms per question, 95% within {most:.2f}; file "
          f"{told.num_bytes / 1e6:,.0f} MB, own memory {own:,.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("corpus", "processes", "exact", "approximate", "prepare"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float16")
    parser.add_argument("--index", default="ivfpq", help="kind of index; of processes, its file")
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--keep", type=Path, help="of processes: JSON file that gets what was measured")
    given = parser.parse_args()
    os.environ.setdefault("RAGGRID_CACHE", str(given.folder.absolute() / "cache"))
    if given.what == "corpus":
        measure_corpus(given.folder, given.rows)
    elif given.what == "processes":
        index = given.index if Path(given.index).is_file() else None
        measure_processes(given.folder, given.rows, given.dtype, index, given.keep)
    elif given.what == "prepare":
        measure_prepare(given.folder, given.rows)
    elif given.what == "exact":
        measure_exact(given.folder, given.rows, given.dtype)
    else:
        measure_approximate(given.folder, given.rows, given.dtype, given.index)


if __name__ == "__main__":
    main()
