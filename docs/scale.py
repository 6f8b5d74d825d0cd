"""The page about the paper's size: its study and one ten times as large on three clusters, as the planner has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import linear_regression

from benchmarks.trial_shapes import in_shape, setting_of
from raggrid.data.checked import with_lengths
from raggrid.graph import study_graph
from raggrid.planning.cost_model import READ_BYTES_PER_SECOND, Setting, exchanged_bytes, unit_costs
from raggrid.planning.devices import DEVICES
from raggrid.planning.estimate import Range, Sizes
from raggrid.planning.pricing import Pricing, price
from raggrid.planning.shapes import Shape, shapes_of
from raggrid.planning.workload import CHARACTERS_PER_TOKEN
from raggrid.rag.approximate import factory_of
from raggrid.space.yaml_io import load_space
from raggrid.strategies import PHASES
from raggrid.unit_costs import UnitCosts

ROOT, FOLDER = Path(__file__).parents[1], Path(__file__).parent
SPACE, TIMES = ROOT / "search_spaces/paper.yaml", ROOT / "search_spaces/paper/step_times.json"
MEASURED = ROOT / "benchmarks/scale.json"
END = "<!-- end -->"
PASSAGES, QUESTIONS = 29_900_000, 90_447  # arXiv 2510.01600, and HotPotQA's training split
NODE_DEVICES = 8
DISK_WEIGHT_BYTES, VECTOR_BYTES = 2, 2  # models are published in 16 bit; retrieval.vectors is float16
GIGABYTE, HOUR = 1e9, 3600
Rows = Sequence[Mapping[str, float]]
"""What `benchmarks.scale processes` measured, by number of passages."""


@dataclass(frozen=True)
class Cluster:
    """Devices of one kind, and the price of one for an hour: about what GPU clouds asked in 2025, to be replaced."""

    device: str
    count: int
    dollars: float


CLUSTERS = (Cluster("A10", 8, 0.75), Cluster("H100", 8, 3.0), Cluster("H100", 64, 3.0))
TIMES_AS_LARGE = (1, 10)


@dataclass(frozen=True)
class Study:
    """One study on one cluster in the shape to take: by the cost model, or at the paper's own pace."""

    factor: int
    cluster: Cluster
    shape: Shape
    setting: Setting
    pricing: Pricing


def paces() -> Mapping[str, float]:
    """How much longer the paper's steps took than the cost model says for its eight A10, by search."""
    setting = _setting(1, "A10", [])
    given = json.loads(TIMES.read_text(encoding="utf-8"))["seconds_per_step"][setting.space.name]
    units = unit_costs(setting)
    return {
        search.name: (given.get(search.name) or given[search.phase]) / units.of(search.name).step_seconds
        for search in study_graph(setting.space).searches.values()
    }


def _setting(factor: int, device: str, settings: list[str], shape: Shape | None = None) -> Setting:
    given = [f"data.limits.train={factor * QUESTIONS}", *settings]
    space = in_shape(SPACE, given, shape) if shape else with_lengths(load_space(SPACE, given))
    return setting_of(space, device, factor * PASSAGES)


def _paced(units: UnitCosts, pace: Mapping[str, float]) -> UnitCosts:
    """Steps and evaluations that take as much longer as the paper's did."""
    slow = {
        name: replace(units.of(name), step_seconds=factor * units.of(name).step_seconds,
                      evaluate_seconds=factor * units.of(name).evaluate_seconds)
        for name, factor in pace.items()
    }  # fmt: skip
    return replace(units, phases={**units.phases, **slow})


def planned(factor: int, cluster: Cluster, pace: Mapping[str, float]) -> Study:
    """The study in the shape that `plan` would take."""
    given = _setting(factor, cluster.device, [])
    work = given.workload
    sizes = Sizes({"validation": work.num_validation, "test": work.num_test}, cluster.count)
    shape = next(row for row in shapes_of(given, _paced(unit_costs(given), pace), sizes) if row.taken)
    setting = _setting(factor, cluster.device, [], shape)
    units = _paced(unit_costs(setting), pace)
    pricing = price(setting, units, num_devices=cluster.count, dollars_per_device_hour=cluster.dollars, notes=())
    return Study(factor, cluster, shape, setting, pricing)


def scale_page() -> str:
    """The page as it is, with the numbers of today between its marks."""
    pace = paces()
    studies = [planned(factor, cluster, pace) for factor in TIMES_AS_LARGE for cluster in CLUSTERS]
    model = [planned(factor, cluster, {}) for factor in TIMES_AS_LARGE for cluster in CLUSTERS]
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))
    text = (FOLDER / "scale.md").read_text(encoding="utf-8")
    for name, lines in {
        "costs": _costs(studies, model), "memory": _memory(studies, rows), "traffic": _traffic(studies),
        "measured": _measured(rows), "extrapolated": _extrapolated(studies[0], pace, rows),
        "assumed": _assumed(studies[0].setting),
    }.items():  # fmt: skip
        before, rest = text.split(f"<!-- {name}: by docs/scale.py -->")
        text = f"{before}<!-- {name}: by docs/scale.py -->\n\n" + "\n".join(lines) + "\n\n" + rest[rest.index(END) :]
    return text


def _name(study: Study) -> str:
    size = "the paper's" if study.factor == 1 else f"{study.factor} times"
    return f"{size}, {study.cluster.count} {study.cluster.device}"


def _table(*heads: str) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _costs(paced: list[Study], model: list[Study]) -> Iterator[str]:
    yield from _table("study", "devices per trial", "at once", "wall days: low", "expected", "high", "GPU-hours used",
                      "dollars held", "cost model alone: days", "dollars")  # fmt: skip
    for slow, fast in zip(paced, model, strict=True):
        bill = slow.pricing.bill
        yield _row(
            _name(slow), slow.shape.workers, slow.shape.trials_at_once, *_days(bill.wall_seconds),
            f"{bill.total_device_seconds.expected / HOUR:,.0f}", f"{_held(slow):,.0f}",
            _days(fast.pricing.bill.wall_seconds)[1], f"{_held(fast):,.0f}",
        )  # fmt: skip


def _days(wall: Range) -> list[str]:
    return [f"{value / HOUR / 24:,.1f}" for value in (wall.low, wall.expected, wall.high)]


def _held(study: Study) -> float:
    hours = study.pricing.bill.wall_seconds.expected / HOUR
    return hours * study.cluster.count * study.cluster.dollars


def _memory(studies: list[Study], rows: Rows) -> Iterator[str]:
    yield from _table("study", "questions per pass", "activations", "GB per device", "of", "GB resident per node",
                      "GB on disk per node")  # fmt: skip
    for study in studies:
        shape, limit = study.shape, DEVICES[study.cluster.device].memory_bytes or 0.0
        again = "computed again" if shape.activation_checkpointing else "kept"
        yield _row(
            _name(study), shape.micro_batch_size, again, f"{shape.memory_bytes / GIGABYTE:.1f}",
            f"{limit / GIGABYTE:.0f}", f"{_resident(rows, study.factor * PASSAGES):,.1f}", f"{_disk(study, rows):,.0f}",
        )  # fmt: skip


def _resident(rows: Rows, passages: int) -> float:
    """GB of a node: the libraries of its processes, and what all hold beyond them, on a straight line."""
    libraries = NODE_DEVICES * rows[-1]["libraries_mb"] / rows[-1]["processes"]
    each, none = _line(rows)
    return (libraries + none + each * passages) / 1e3


def _line(rows: Rows) -> tuple[float, float]:
    """MB beyond libraries (per passage, without any): the least squares line from a million passages on."""
    large = [row for row in rows if row["rows"] >= 1_000_000]
    beyond = [row["resident_mb"] - row["libraries_mb"] for row in large]
    return linear_regression([row["rows"] for row in large], beyond)


def _index_bytes(rows: Rows) -> float:
    """Per passage."""
    return rows[-1]["index_mb"] * 1e6 / rows[-1]["rows"]


def _disk(study: Study, rows: Rows) -> float:
    """GB: corpus, vectors, index, generator."""
    per_passage = rows[-1]["corpus_mb"] * 1e6 / rows[-1]["rows"] + _index_bytes(rows)
    vectors = VECTOR_BYTES * study.setting.embedder.hidden_size
    models = DISK_WEIGHT_BYTES * study.setting.generator.parameters
    return (study.factor * PASSAGES * (per_passage + vectors) + models) / GIGABYTE


def _traffic(studies: list[Study]) -> Iterator[str]:
    yield from _table("study", "TB of gradients", "MB per step and device", "TB of weights read",
                      "GPU-hours of embedding")  # fmt: skip
    for study in studies:
        gradients, most = _gradients(study)
        index = study.pricing.bill.index_device_seconds / HOUR
        cells = (gradients / 1e12, most / 1e6, _weights_read(study) / 1e12, index)
        yield _row(_name(study), *(f"{value:,.1f}" for value in cells))


def _gradients(study: Study) -> tuple[float, float]:
    """(bytes sent by all devices over the study, at most; the most bytes that one sends in a step)."""
    setting, graph = study.setting, study_graph(study.setting.space)
    workers, total, most = setting.workers, 0.0, 0.0
    for row in study.pricing.bill.searches:
        sent = exchanged_bytes(setting, PHASES[graph.searches[row.search].phase])
        steps = row.device_seconds.expected / workers / study.pricing.units.of(row.search).step_seconds
        total, most = total + steps * workers * sent, max(most, sent)
    return total, most


def _weights_read(study: Study) -> float:
    """Bytes, of trials."""
    starts = study.setting.workers * sum(row.all_trials.expected for row in study.pricing.bill.searches)
    return starts * DISK_WEIGHT_BYTES * study.setting.generator.parameters


def _measured(rows: Rows) -> Iterator[str]:
    yield from _table("passages", "processes", "MB resident together", "of it libraries", "seconds to start",
                      "MB of corpus", "MB of index")  # fmt: skip
    for row in rows:
        names = ("processes", "resident_mb", "libraries_mb", "start_seconds", "corpus_mb", "index_mb")
        yield _row(f"{row['rows']:,}", *(f"{row[name]:,}" for name in names))


def _extrapolated(study: Study, pace: Mapping[str, float], rows: Rows) -> Iterator[str]:
    factory = factory_of(study.setting.space.retrieval.index, PASSAGES, study.setting.embedder.hidden_size)
    factors = ", ".join(f"{name} {factor:.1f}" for name, factor in pace.items())
    each, none = _line(rows)
    yield (
        f"- Resident memory of a node: {_resident(rows, PASSAGES):.1f} GB for {PASSAGES:,} passages: the libraries of "
        f"{NODE_DEVICES} processes, and the line through the sizes of a million passages and more above, "
        "{:,.0f} MB per million and {:,.0f} MB. ".format(1e6 * each, none)
        + "Most of it are mapped pages, which the system can drop and read again; what was measured grows more slowly "
        "than the line."
    )
    yield f"- Disk per passage: as in the last row above. The index of {PASSAGES:,} passages would be {factory}."
    yield f"- The paper's pace, in times the cost model on its eight A10, to other devices and shapes: {factors}."


def _assumed(setting: Setting) -> Iterator[str]:
    work, space = setting.workload, setting.space
    lengths = (work.question_tokens, work.answer_tokens, work.passage_tokens)
    yield (
        f"- {QUESTIONS:,} training questions and {PASSAGES:,} passages, or ten times both; {work.num_validation:,} "
        "validation questions and no test split in either."
    )
    yield (
        "- Tokens: {:g} of a question, {:g} of an answer, {:g} of a passage; ".format(*lengths)
        + f"{CHARACTERS_PER_TOKEN} characters each in the prompt's own text."
    )
    yield (
        f"- Batches of {space.training.rag.batch_size} questions with {space.retrieval.top_k} passages each; adapters "
        f"of rank {space.training.lora_rank} on all linear layers."
    )
    for name, dollars in {cluster.device: cluster.dollars for cluster in CLUSTERS}.items():
        device = DEVICES[name]
        yield (
            f"- {name}: {device.flops / 1e12:,.0f} Tflop/s, of which training reaches {device.utilisation:.0%}; "
            f"{device.bytes_per_second / 1e9:,.0f} GB/s of memory, {device.link_bytes_per_second / 1e9:,.0f} GB/s to "
            f"another device; ${dollars:.2f} per hour."
        )
    read = READ_BYTES_PER_SECOND / 1e9
    yield f"- {NODE_DEVICES} devices and as many processes per node; each reads weights at {read:g} GB/s."
