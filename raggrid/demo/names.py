"""Invented names built from syllables, in near-namesake pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

GIVEN_HEADS = ("Or", "Ket", "Mav", "Tem", "Bri", "Sol", "Hal", "Ysa", "Dun", "Fen", "Gar", "Il", "Pel", "Ruv", "Ces")
FEMININE_TAILS = ("la", "wen", "dis", "na", "ette", "mara")
MASCULINE_TAILS = ("lan", "mer", "ric", "do", "bert", "vik")
SURNAME_HEADS = (
    *("Ven", "Tar", "Hol", "Bran", "Cas", "Mor", "Quil", "Sted", "Wex", "Lor", "Pell", "Drav", "Fos", "Gren"),
    *("Hask", "Jor", "Kel", "Nim", "Ost", "Rud", "Sarn", "Thal", "Ull", "Zeb"),
)
SURNAME_TAILS = ("low", "der", "lick", "by", "mont", "ver", "sel", "gate", "ston", "ish", "ham", "per", "aby", "ock")
SURNAME_SUFFIXES = ("er", "sen", "ey", "kin")
PLACE_HEADS = ("Tarr", "Ess", "Ol", "Wick", "Bram", "Cald", "Dun", "Ferr", "Gos", "Hept", "Isk", "Lum", "Marr", "Pend")
PLACE_TAILS = ("ow", "enby", "aster", "ell", "ick", "onby", "ath", "umber", "isle", "anser")
PLACE_FORMS = ("North {}", "{} Bay", "Upper {}", "{} Cross", "Old {}", "{} Ferry", "{}", "{} Fold")
RIVER_HEADS = ("Te", "Ar", "Li", "Sha", "Wo", "Cre", "Gly", "Nau", "Ie", "Ru", "Hu", "Bly", "Ve", "Do")
RIVER_TAILS = ("sk", "nder", "ll", "rrin", "vel", "than", "mmer", "sp", "chet", "dle")
TITLE_ADJECTIVES = (
    *("Salt", "Paper", "Ochre", "Silent", "Winter", "Copper", "Hollow", "Crooked", "Glass", "Patient", "Scarlet"),
    *("Borrowed", "Drowned", "Iron", "Velvet", "Hidden", "Painted", "Broken", "Northern", "Golden"),
)
TITLE_NOUNS = (
    *("Orchard", "Lantern", "Harbour", "Stair", "Garden", "Mirror", "Bridge", "Letter", "Crown", "Door", "Window"),
    *("Shadow", "Wheel", "Anchor", "Feather", "Tower", "River", "Candle", "Map", "Ladder"),
)
TITLE_FORMS = ("The {}", "{}s", "A {}", "{}", "The {}s")
CREATURE_HEADS = ("toll", "brim", "vask", "orr", "plim", "grun", "shev", "wint", "quob", "dask", "murr", "flit", "yarr")
CREATURE_TAILS = ("et", "ock", "el", "ander", "ling", "op", "isk", "una", "ward")
CREATURE_FORMS = ("lesser {}", "banded {}", "crested {}", "dusk {}", "pale {}", "hooded {}", "ringed {}", "giant {}")
MAX_DRAWS = 1000  # far more than a free name ever needs while under 90% of a table is taken

Name = TypeVar("Name", "PersonName", str)


@dataclass(frozen=True)
class PersonName:
    """A full name in its two words, and the pronoun that goes with it ('he' or 'she')."""

    given: str
    surname: str
    pronoun: str

    def __str__(self) -> str:
        return f"{self.given} {self.surname}"


@dataclass
class NameSource:
    """Draws names from ``rng``, none of them twice.

    Every draw raises ValueError when the tables hold no further free name, which takes more than a
    thousand entities.
    """

    rng: Random
    used: set[str] = field(default_factory=set)

    def person_pair(self) -> tuple[PersonName, PersonName]:
        """Two people who share a given name and most of the surname, or the surname and half the given name."""
        first, second = self._fresh("person", self._namesakes)
        return first, second

    def person(self) -> str:
        """One full name with no intended namesake."""
        return str(self._fresh("person", lambda: (self._person(),))[0])

    def place_pair(self) -> tuple[str, str]:
        """Two places with one stem, such as 'North Tarrow' and 'Tarrow Bay'."""
        return self._forms_of(PLACE_FORMS, self._stem("place", PLACE_HEADS, PLACE_TAILS))

    def creature_pair(self) -> tuple[str, str]:
        """Two creatures with one stem, in lower case, such as 'dusk tollet' and 'ringed tollet'."""
        return self._forms_of(CREATURE_FORMS, self._stem("creature", CREATURE_HEADS, CREATURE_TAILS))

    def title_pair(self) -> tuple[str, str]:
        """Two works with the same two words, such as 'The Salt Orchard' and 'Salt Orchards'."""
        words = self._stem("title", TITLE_ADJECTIVES, TITLE_NOUNS, joint=" ")
        return self._forms_of(TITLE_FORMS, words)

    def river(self) -> str:
        """One river, such as 'River Tesk'."""
        return f"River {self._stem('river', RIVER_HEADS, RIVER_TAILS)}"

    def _stem(self, what: str, heads: tuple[str, ...], tails: tuple[str, ...], joint: str = "") -> str:
        """A head and a tail that no earlier stem of this kind was made of."""
        prefix = f"{what}: "  # the kinds share one set of used names, and must not block each other
        drawn = self._fresh(what, lambda: (prefix + self.rng.choice(heads) + joint + self.rng.choice(tails),))
        return drawn[0].removeprefix(prefix)

    def _forms_of(self, forms: tuple[str, ...], stem: str) -> tuple[str, str]:
        first, second = self.rng.sample(forms, 2)
        return first.format(stem), second.format(stem)

    def _namesakes(self) -> tuple[PersonName, ...]:
        first = self._person()
        return first, self._lengthened(first) if self.rng.random() < 0.5 else self._relative(first)

    def _person(self) -> PersonName:
        pronoun = self.rng.choice(("she", "he"))
        surname = self.rng.choice(SURNAME_HEADS) + self.rng.choice(SURNAME_TAILS)
        return PersonName(self._given(self.rng.choice(GIVEN_HEADS), pronoun), surname, pronoun)

    def _given(self, head: str, pronoun: str) -> str:
        return head + self.rng.choice(FEMININE_TAILS if pronoun == "she" else MASCULINE_TAILS)

    def _lengthened(self, name: PersonName) -> PersonName:
        return PersonName(name.given, name.surname + self.rng.choice(SURNAME_SUFFIXES), name.pronoun)

    def _relative(self, name: PersonName) -> PersonName:
        head = next(head for head in GIVEN_HEADS if name.given.startswith(head))
        pronoun = self.rng.choice(("she", "he"))
        return PersonName(self._given(head, pronoun), name.surname, pronoun)

    def _fresh(self, what: str, draw: Callable[[], tuple[Name, ...]]) -> tuple[Name, ...]:
        """Draw until all drawn names are free and differ from each other; then take them."""
        for _ in range(MAX_DRAWS):
            drawn = draw()
            names = {str(name) for name in drawn}
            if len(names) == len(drawn) and self.used.isdisjoint(names):
                self.used.update(names)
                return drawn
        raise ValueError(f"demo names: got no free {what} name in {MAX_DRAWS} draws; expected one. Ask for fewer.")
