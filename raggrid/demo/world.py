"""A seed -> a corpus and three splits of questions about a world that no language model has read about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from raggrid.demo.entities import Entity, Sources, make_entities
from raggrid.demo.prose import write_passage
from raggrid.demo.questions import ask, descriptions_of, name_of
from raggrid.errors import InputError
from raggrid.records import Passage, Question

MIN_ENTITIES, MAX_ENTITIES = 20, 600  # below, a split may lack a kind; above, the invented names run out
QUESTIONS_PER_ENTITY = 2
SPLIT_ENDS = {"train": 0.6, "validation": 0.8, "test": 1.0}  # cumulative shares of the entities
# Share of questions that describe their subject. It sets how much the embedder can learn: the un-tuned
# all-MiniLM-L6-v2 finds nearly every named subject, but far from every described one.
DESCRIBED_SHARE = 0.5


@dataclass(frozen=True)
class World:
    """All passages, one for each entity, and the questions by split: 'train', 'validation', 'test'.

    No two splits share an entity, so no two share a gold passage.
    """

    passages: tuple[Passage, ...]
    splits: dict[str, tuple[Question, ...]]


@dataclass(frozen=True)
class _Page:
    """An entity with its passage; ``stated`` are the relations that appear early in the text."""

    entity: Entity
    passage: Passage
    stated: tuple[str, ...]


def make_world(seed: int = 0, *, num_entities: int = 240) -> World:
    """A world of ``num_entities`` passages and twice as many questions, the same for the same arguments.

    40% of the entities are people, and 20% each places, works and creatures; nearly all come in pairs of
    near-namesakes.
    Each question is answered by exactly one passage, which contains its first answer word for word.

    Raises:
        ValueError: ``num_entities`` is not in `MIN_ENTITIES` to `MAX_ENTITIES`.
    """
    if not MIN_ENTITIES <= num_entities <= MAX_ENTITIES:
        expected = f"an integer from {MIN_ENTITIES} to {MAX_ENTITIES}"
        raise ValueError(f"num_entities: got {num_entities}; expected {expected}.")
    rng = Random(seed)
    entities, sources = make_entities(num_entities, rng)
    pages = _write_pages(entities, sources, rng)
    return World(tuple(page.passage for page in pages), _ask_all(pages, rng))


def write_world(world: World, folder: Path | str) -> None:
    """Write ``corpus.jsonl`` and a file per split into ``folder``: UTF-8, one object per line, equal bytes everywhere.

    Raises:
        InputError: a file of such a name has other content; nothing was written.
        OSError: the folder cannot be written.
    """
    folder, files = Path(folder), {"corpus.jsonl": _lines(world.passages)}
    files |= {f"{split}.jsonl": _lines(questions) for split, questions in world.splits.items()}
    others = [name for name, content in files.items() if _holds_other(folder / name, content)]
    if others:
        raise InputError(
            f"{folder}: holds other files named {', '.join(others)}; expected none, or the same world. "
            "Choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _lines(rows: Iterable[Passage | Question]) -> bytes:
    known = ({name: value for name, value in asdict(row).items() if value is not None} for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in known).encode()


def _holds_other(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


def _write_pages(entities: list[Entity], sources: Sources, rng: Random) -> list[_Page]:
    """One page per entity, in random order, so that neither an id nor a split reveals its kind."""
    pages = []
    for number, entity in enumerate(rng.sample(entities, len(entities)), start=1):
        text, stated = write_passage(entity, sources, rng)
        title = entity.name[0].upper() + entity.name[1:]
        pages.append(_Page(entity, Passage(id=f"w{number:05d}", title=title, text=text), stated))
    return pages


def _ask_all(pages: list[_Page], rng: Random) -> dict[str, tuple[Question, ...]]:
    uses = Counter(text for page in pages for text in _all_descriptions(page))
    splits: dict[str, tuple[Question, ...]] = {}
    start = 0
    for split, share in SPLIT_ENDS.items():
        end = round(share * len(pages))
        splits[split] = tuple(question for page in pages[start:end] for question in _ask(page, uses, rng))
        start = end
    return splits


def _all_descriptions(page: _Page) -> Iterator[str]:
    """Every description true of the entity, whether or not its passage says so."""
    for texts in descriptions_of(page.entity, tuple(page.entity.facts)).values():
        yield from texts


def _ask(page: _Page, uses: Mapping[str, int], rng: Random) -> Iterator[Question]:
    for relation in rng.sample(page.stated, QUESTIONS_PER_ENTITY):
        subject = _subject(page, relation, uses, rng)
        text = ask(page.entity, relation, subject, rng)
        question_id = f"q-{page.passage.id[1:]}-{relation}"
        yield Question(
            id=question_id, question=text, answers=page.entity.facts[relation], context_ids=(page.passage.id,)
        )


def _subject(page: _Page, relation: str, uses: Mapping[str, int], rng: Random) -> str:
    """The name, or a description that fits no other entity and does not give the answer away."""
    by_relation = descriptions_of(page.entity, page.stated)
    fitting = [text for key, texts in by_relation.items() if key != relation for text in texts if uses[text] == 1]
    if fitting and rng.random() < DESCRIBED_SHARE:
        return rng.choice(fitting)
    return name_of(page.entity)
