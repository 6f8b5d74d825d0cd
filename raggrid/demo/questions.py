"""An entity and a relation -> a question that names the entity, or describes it by its other facts."""

from __future__ import annotations

from random import Random

from raggrid.demo.entities import Entity
from raggrid.demo.prose import with_the

# {x} is the name ('Orla Venlow', 'the dusk tollet') or a description ('the painter Venlow', 'the moth of the fens').
QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "occupation": ("What was the occupation of {x}?", "What did {x} do for a living?", "What was the job of {x}?"),
        "birthplace": ("Where was {x} born?", "What was the birthplace of {x}?", "In which town was {x} born?"),
        "instrument": ("Which instrument did {x} play?", "What was played by {x}?", "What did {x} like to play?"),
        "collection": ("What did {x} collect?", "Which things did {x} collect?", "What was {x} known to collect?"),
        "teacher": ("Who taught {x}?", "Who was the teacher of {x}?", "From whom did {x} learn?"),
    },
    "place": {
        "river": ("Which river runs through {x}?", "On which river does {x} lie?", "What is the river of {x}?"),
        "founder": ("Who founded {x}?", "Who was the founder of {x}?", "By whom was {x} founded?"),
        "ruler": ("Who rules {x}?", "Who is the ruler of {x}?", "By whom is {x} ruled?"),
        "trade": ("What is {x} known for?", "What is sold in {x}?", "What do traders buy in {x}?"),
    },
    "work": {
        "author": ("Who made {x}?", "Who was the author of {x}?", "Whose work is {x}?"),
        "year": ("When was {x} finished?", "From which year is {x}?", "In which year did {x} appear?"),
        "theme": ("What is {x} about?", "What is the subject of {x}?", "What does {x} tell of?"),
        "patron": ("Who paid for {x}?", "Who was the patron of {x}?", "Whose money paid for {x}?"),
    },
    "creature": {
        "habitat": ("Where does {x} live?", "What is the habitat of {x}?", "Where is the home of {x}?"),
        "diet": ("What does {x} eat?", "What does {x} feed on?", "What is the food of {x}?"),
        "discoverer": ("Who discovered {x}?", "Who was the discoverer of {x}?", "By whom was {x} first seen?"),
        "year": ("When was {x} described?", "In which year was {x} described?", "Since when is {x} known?"),
    },
}
# For each kind, descriptions by the relation that they give away, which must not be the one that is asked for.
DESCRIPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "occupation": ("the {occupation} {last}", "{last} the {occupation}"),
        "birthplace": ("{last} of {birthplace}", "the {last} who came from {birthplace}"),
    },
    "place": {"river": ("the town on the {river}",), "founder": ("the town that {founder} founded",)},
    "work": {"author": ("the {noun} by {author}",), "theme": ("the {noun} about {theme}",)},
    "creature": {"habitat": ("the {noun} of the {habitat}",), "diet": ("the {noun} that eats {diet}",)},
}


def ask(entity: Entity, relation: str, subject: str, rng: Random) -> str:
    """One wording of the question for ``relation`` about ``subject``, the entity's name or description."""
    return rng.choice(QUESTIONS[entity.kind][relation]).format(x=subject)


def name_of(entity: Entity) -> str:
    """The name as it appears in a question."""
    return with_the(entity.kind, entity.name)


def descriptions_of(entity: Entity, stated: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Every description that the passage supports, by the relation that it gives away.

    ``stated`` are the relations that the passage states; the caller drops descriptions that fit a second
    entity too.
    """
    values = {relation: answers[0] for relation, answers in entity.facts.items()}
    values |= {"last": entity.name.split()[-1], "noun": entity.noun}
    described = {key: texts for key, texts in DESCRIPTIONS[entity.kind].items() if key in stated}
    return {key: tuple(text.format_map(values) for text in texts) for key, texts in described.items()}
