"""People, places, works and creatures, each with its facts; nothing is worded here."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from raggrid.demo.names import NameSource, PersonName
from raggrid.demo.values import Answer, Deck, make_decks, person_answer, river_answer

# Share of each kind among the entities.
KIND_SHARES = {"person": 0.4, "place": 0.2, "work": 0.2, "creature": 0.2}


@dataclass(frozen=True)
class Entity:
    """One subject of one passage.

    ``facts`` maps a relation to its accepted answers, ``noun`` says what the entity is if that is not a fact
    ('town', 'opera', 'moth'), ``namesake`` is the name of the entity that it is easily confused with.
    """

    kind: str
    name: str
    noun: str
    pronoun: str
    facts: dict[str, Answer]
    namesake: str


@dataclass(frozen=True)
class Sources:
    """Where names and values are drawn from; one for a whole world, so that nothing repeats too often."""

    names: NameSource
    decks: dict[str, Deck]
    towns: Deck

    def draw(self, *relations: str) -> dict[str, Answer]:
        """One card from each of these decks."""
        return {relation: self.decks[relation].draw() for relation in relations}

    def someone(self) -> Answer:
        """A person without a passage of their own, with the surname as alias."""
        return person_answer(self.names.person())


def make_sources(rng: Random, num_places: int) -> tuple[Sources, list[tuple[str, str]]]:
    """Sources whose towns are the world's own places, and those places in pairs of namesakes."""
    names = NameSource(rng)
    places = [names.place_pair() for _ in range(-(-num_places // 2))]
    towns = Deck([name for pair in places for name in pair], rng)
    return Sources(names, make_decks(rng), towns), places


def make_entities(num_entities: int, rng: Random) -> tuple[list[Entity], Sources]:
    """All entities, kind by kind, namesakes side by side; and the sources, for details that no one asks about."""
    counts = {kind: round(num_entities * share) for kind, share in KIND_SHARES.items()}
    counts["person"] += num_entities - sum(counts.values())
    sources, places = make_sources(rng, counts["place"])
    entities: list[Entity] = []
    for kind, count in counts.items():
        pairs = (_make_pair(kind, sources, places) for _ in range(-(-count // 2)))
        # An odd count leaves out the last namesake; its name still occurs in its partner's passage.
        entities += [entity for pair in pairs for entity in pair][:count]
    return entities, sources


def _make_pair(kind: str, sources: Sources, places: list[tuple[str, str]]) -> tuple[Entity, Entity]:
    if kind == "person":
        first, second = sources.names.person_pair()
        return _person(first, str(second), sources), _person(second, str(first), sources)
    pair = {"place": places.pop, "work": sources.names.title_pair, "creature": sources.names.creature_pair}[kind]()
    make = {"place": _place, "work": _work, "creature": _creature}[kind]
    return make(pair[0], pair[1], sources), make(pair[1], pair[0], sources)


def _person(name: PersonName, namesake: str, sources: Sources) -> Entity:
    facts = sources.draw("occupation", "instrument", "collection")
    facts |= {"birthplace": sources.towns.draw(), "teacher": sources.someone()}
    return Entity("person", str(name), "person", name.pronoun, facts, namesake)


def _place(name: str, namesake: str, sources: Sources) -> Entity:
    facts = sources.draw("trade") | {"river": river_answer(sources.names.river())}
    facts |= {"founder": sources.someone(), "ruler": sources.someone()}
    return Entity("place", name, "town", "it", facts, namesake)


def _work(name: str, namesake: str, sources: Sources) -> Entity:
    facts = sources.draw("year", "theme") | {"author": sources.someone(), "patron": sources.someone()}
    return Entity("work", name, sources.decks["form"].draw()[0], "it", facts, namesake)


def _creature(name: str, namesake: str, sources: Sources) -> Entity:
    facts = sources.draw("habitat", "diet") | {"discoverer": sources.someone(), "year": sources.draw("year")["year"]}
    return Entity("creature", name, sources.decks["group"].draw()[0], "it", facts, namesake)
