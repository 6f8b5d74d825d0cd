"""Values of facts: pools of answers with their aliases, drawn so that none becomes common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

Answer = tuple[str, ...]  # every accepted string; the first is the one that the passage contains

# '|' separates aliases.
OCCUPATIONS = (
    *("glassblower|glass-blower|glass blower", "painter", "cartographer|mapmaker|map-maker", "beekeeper|bee-keeper"),
    *("clockmaker|clock-maker", "ferryman|ferry pilot", "locksmith", "botanist", "bell founder|bell-founder"),
    *("astronomer", "shipwright|shipbuilder", "surgeon", "printer", "falconer", "composer", "weaver", "geologist"),
    *("stonemason|stone mason|mason", "judge", "potter", "apothecary", "bookbinder|book-binder", "saddler"),
    *("lighthouse keeper|lighthouse-keeper", "tanner", "engraver", "brewer", "sculptor", "notary", "blacksmith|smith"),
    *("puppeteer", "cooper|barrel maker", "schoolteacher|teacher", "archivist", "diver", "baker", "chemist", "vintner"),
    *("basket maker|basketmaker", "translator", "miller", "midwife", "wheelwright", "furrier", "dyer", "thatcher"),
)
INSTRUMENTS = (
    *("reed fiddle|fiddle", "bone flute|flute", "glass harp|harp", "nine-string lute|lute", "tin whistle|whistle"),
    *("water organ|organ", "goat horn|horn", "slate chimes|chimes", "hand drum|drum", "bass viol|viol", "zither"),
    *("dulcimer", "oboe", "accordion", "trumpet", "mandolin", "spinet", "bagpipes", "cello", "tambourine", "bassoon"),
)
COLLECTIONS = (
    *("moth wings", "rusted keys|keys", "river pebbles|pebbles", "old maps|maps", "bird skulls|skulls", "buttons"),
    *("foreign coins|coins", "broken clocks|clocks", "pressed ferns|ferns", "ship bells|bells", "wax seals|seals"),
    *("glass eyes", "snail shells|shells", "theatre masks|masks", "thimbles", "wooden spoons|spoons", "lace collars"),
    *("beetles", "playing cards|cards", "door knockers", "ink bottles|bottles", "fishing hooks|hooks", "kites"),
)
TRADES = (
    *("smoked eels|eels", "blue paper|paper", "church bells|bells", "walnut oil", "sea salt|salt", "felt hats|hats"),
    *("pear brandy|brandy", "roof slate|slate", "iron nails|nails", "linen thread|thread", "goat cheese|cheese"),
    *("honey cakes", "fishing nets|nets", "red dye|dye", "candles", "barley beer|beer", "cork", "mirrors", "saffron"),
    *("tar", "horn combs|combs", "clay pipes|pipes", "oak barrels|barrels", "wool blankets|blankets", "pewter mugs"),
)
FORMS = ("novel", "painting", "opera", "tapestry", "poem", "ballet", "mural", "play")
THEMES = (
    *("a failed harvest", "two rival sisters", "a winter siege", "a blind sailor", "the flood year", "a stolen horse"),
    *("an empty palace", "a runaway bride", "the last whale", "a village trial", "a lost twin", "an honest thief"),
    *("a burning library", "a deaf king", "a mountain rescue", "the salt tax", "a duel at dawn", "an exiled monk"),
)
GROUPS = ("bird", "moth", "lizard", "fish", "beetle", "frog", "rodent", "snake")
HABITAT_SIDES = (
    "northern",
    "southern",
    "eastern",
    "western",
    "upland",
    "coastal",
    "flooded",
    "sunlit",
    "sandy",
    "misty",
)
HABITAT_GROUNDS = ("fens", "cliffs", "dunes", "caves", "heaths", "pinewoods", "meadows", "lagoons", "gorges", "moors")
DIETS = (
    *("pond snails|snails", "thistle seeds|seeds", "pine resin|resin", "crab eggs|eggs", "rotting fruit|fruit", "moss"),
    *("willow bark|bark", "water fleas|fleas", "honeydew", "earthworms|worms", "young nettles|nettles", "ants"),
    *("acorns", "mushrooms", "sand shrimps|shrimps", "spiders", "juniper berries|berries", "lichen", "clover", "kelp"),
    *("dead wood", "grasshoppers", "tree sap|sap", "mussels", "wild oats|oats", "mosquito larvae|larvae"),
)
FIRST_YEAR, LAST_YEAR = 1580, 1899


class Deck:
    """Draws from a pool without replacement and reshuffles when it is empty, so that no answer is common.

    Two draws in a row always differ, which keeps a pair of namesakes apart.
    """

    def __init__(self, pool: Sequence[str], rng: Random) -> None:
        self._pool, self._rng = tuple(pool), rng
        self._left: list[str] = []
        self._last = ""

    def draw(self) -> Answer:
        """The next value as a tuple of aliases, the one in the passage first."""
        while not self._left or self._left[-1] == self._last:
            self._left = self._rng.sample(self._pool, len(self._pool))
        self._last = self._left.pop()
        return tuple(self._last.split("|"))


def make_decks(rng: Random) -> dict[str, Deck]:
    """One deck for each kind of answer that is not a name."""
    habitats = [f"{side} {ground}|{ground}" for side, ground in product(HABITAT_SIDES, HABITAT_GROUNDS)]
    years = [str(year) for year in range(FIRST_YEAR, LAST_YEAR + 1)]
    pools: dict[str, Sequence[str]] = {
        **{"occupation": OCCUPATIONS, "instrument": INSTRUMENTS, "collection": COLLECTIONS, "trade": TRADES},
        **{"form": FORMS, "theme": THEMES, "year": years, "group": GROUPS, "habitat": habitats, "diet": DIETS},
    }
    return {name: Deck(pool, rng) for name, pool in pools.items()}


def person_answer(full_name: str) -> Answer:
    """A full name; the surname alone is accepted too."""
    return full_name, full_name.split()[-1]


def river_answer(river: str) -> Answer:
    """A river's name; it is accepted without the word 'River' too: 'River Tesk', 'Tesk', 'the Tesk'."""
    bare = river.removeprefix("River ")
    return river, bare, f"the {bare}"
