"""Questions as readers write them: with the name and the town of who asks, which are not what the question is about.

An embedder that was not tuned on such letters looks for the sender as well as for the subject. Which part of a letter
counts is learned from other letters about other subjects, so tuning on labels helps on questions that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

# {who} and {town} are of the sender, {ask} and {Ask} the question with a small and a capital first letter.
LETTERS = (
    "{who} of {town} asks: {ask}",
    "From {who} in {town}: {ask}",
    "{Ask} Signed, {who}, {town}.",
    "{Ask} With thanks, {who} of {town}.",
)


def as_letter(question: str, people: Sequence[str], towns: Sequence[str], rng: Random) -> str:
    """The question in a letter from somebody; ``people`` and ``towns`` are those that may have sent it."""
    small, capital = (f"{first}{question[1:]}" for first in (question[0].lower(), question[0]))
    who, town = rng.choice(people), rng.choice(towns)
    return rng.choice(LETTERS).format(who=who, town=town, ask=small, Ask=capital)
