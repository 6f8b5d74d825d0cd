"""An entity -> a passage of about 25 to 45 words: facts in random order and wording, with side remarks."""

from __future__ import annotations

from random import Random

from raggrid.demo.entities import Entity, Sources

# {s} the subject as subject (may be a pronoun), {o} in any other place, {v} value, {a} its indefinite article.
SENTENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "occupation": ("{s} worked as {a} {v}", "{s} was {a} {v} by trade", "{s} earned a living as {a} {v}"),
        "birthplace": ("{s} was born in {v}", "{s} came from {v}", "the birthplace of {o} was {v}"),
        "instrument": ("in the evenings {s} played the {v}", "{s} played the {v}", "{s} was fond of playing the {v}"),
        "collection": ("{s} collected {v}", "{s} owned a large collection of {v}", "at home {s} collected {v}"),
        "teacher": ("{s} was taught by {v}", "the teacher of {o} was {v}", "as a pupil {s} learned from {v}"),
    },
    "place": {
        "river": ("{s} lies on the {v}", "{s} stands beside the {v}", "the {v} runs through {o}"),
        "founder": ("{s} was founded by {v}", "its founder was {v}", "the first houses of {o} were founded by {v}"),
        "ruler": ("{s} is ruled by {v}", "its present ruler is {v}", "these days {s} is ruled by {v}"),
        "trade": ("{s} is known for its {v}", "{s} sells {v} far and wide", "traders come to {o} for its {v}"),
    },
    "work": {
        "author": ("{s} was made by {v}", "{s} is the work of {v}", "its author was {v}"),
        "year": ("{s} was finished in {v}", "{s} dates from {v}", "{s} appeared in {v}"),
        "theme": ("{s} tells of {v}", "{s} is about {v}", "the subject of {o} is {v}"),
        "patron": ("{s} was paid for by {v}", "its patron was {v}", "the money for {o} came from {v}"),
    },
    "creature": {
        "habitat": ("{s} lives in the {v}", "{s} is found in the {v}", "the home of {o} is the {v}"),
        "diet": ("{s} feeds on {v}", "{s} eats {v}", "in summer {s} eats little but {v}"),
        "discoverer": ("{s} was discovered by {v}", "its discoverer was {v}", "{s} was first seen by {v}"),
        "year": ("{s} was described in {v}", "science has known {o} since {v}", "{s} was first drawn in {v}"),
    },
}
# Remarks that name other people and values of the same kinds, and answer no question.
REMARKS: dict[str, tuple[str, ...]] = {
    "person": (
        "a neighbour, {other}, was {a} {occupation}",
        "{other} wrote the only biography",
        "a cousin in {town} played the {instrument}",
        "few letters survive",
    ),
    "place": (
        "its bridge was built by {other}",
        "the road to {town} is steep",
        "a clock tower was added in {year}",
        "the market is small",
    ),
    "work": (
        "a copy is kept in {town}",
        "{other} praised it",
        "it was nearly lost in {year}",
        "critics were slow to like it",
    ),
    "creature": (
        "{other} kept one in a cage",
        "it was once sold at {town}",
        "no stamp showed it before {year}",
        "its call is faint",
    ),
}
NAMESAKE_NOTES = ("{s} is often mistaken for {namesake}", "{s} has nothing to do with {namesake}")
NUM_FACTS = 4  # of the four or five that an entity has
NUM_EARLY_FACTS = 3  # only these are asked about, so that a truncated prompt still holds the answer
NOTE_SHARE, REMARK_SHARE = 0.25, 0.4  # of passages; the rest end with their last fact


def write_passage(entity: Entity, sources: Sources, rng: Random) -> tuple[str, tuple[str, ...]]:
    """The passage's text, and the relations stated early enough in it to be asked about."""
    relations = rng.sample(sorted(entity.facts), NUM_FACTS)
    sentences = [_fact(entity, relation, rng, is_first=n == 0) for n, relation in enumerate(relations)]
    sentences += _ending(entity, sources, rng)
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return text, tuple(relations[:NUM_EARLY_FACTS])


def with_the(kind: str, name: str) -> str:
    """The name as it appears in a sentence: creatures take an article, all others do not."""
    return f"the {name}" if kind == "creature" else name


def article(word: str) -> str:
    """'an' before a vowel letter, else 'a'; never called with a plural."""
    return "an" if word[0] in "aeiou" else "a"


def _fact(entity: Entity, relation: str, rng: Random, *, is_first: bool) -> str:
    value = entity.facts[relation][0]
    templates = SENTENCES[entity.kind][relation]
    if is_first:
        # It must name its subject, so it cannot be a sentence that only says 'its'.
        template = rng.choice([text for text in templates if "{s}" in text or "{o}" in text])
        subject = other = _introduction(entity)
    else:
        template, other = rng.choice(templates), _short_name(entity)
        subject = rng.choice((entity.pronoun, other))
    return template.format(s=subject, o=other, v=value, a=article(value)).rstrip(",")


def _introduction(entity: Entity) -> str:
    """The name, and for all but people what it is: 'Salt Orchards, an opera,'."""
    name = with_the(entity.kind, entity.name)
    return name if entity.kind == "person" else f"{name}, {article(entity.noun)} {entity.noun},"


def _short_name(entity: Entity) -> str:
    return entity.name.split()[-1] if entity.kind == "person" else f"the {entity.noun}"


def _ending(entity: Entity, sources: Sources, rng: Random) -> list[str]:
    """At most one sentence without a fact; last, because a pronoun after it would point at the wrong person."""
    chance = rng.random()
    if chance < NOTE_SHARE:
        namesake = with_the(entity.kind, entity.namesake)
        return [rng.choice(NAMESAKE_NOTES).format(s=_short_name(entity), namesake=namesake)]
    return [_remark(entity, sources, rng)] if chance < NOTE_SHARE + REMARK_SHARE else []


def _remark(entity: Entity, sources: Sources, rng: Random) -> str:
    template = rng.choice(REMARKS[entity.kind])
    details = {"other": sources.someone()[0], "town": sources.towns.draw()[0]}
    details |= {name: cards[0] for name, cards in sources.draw("occupation", "instrument", "year").items()}
    return template.format(**details, a=article(details["occupation"]))
