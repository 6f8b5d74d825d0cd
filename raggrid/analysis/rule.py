"""The paper's rule: Lawton, Samuel, Kumar and Liu, Findings of EMNLP 2025, arXiv 2510.01600."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raggrid.strategies import STRATEGIES, Phase

InHand = Literal["generator", "embedder"]
# Its Figures 3, 6 and 7, HotPotQA: the means over four pipelines of wall hours on one node with 8 A10.
TWO_WAYS_OF_COUNTING = (
    "The paper counts the hours of two_phase in two ways: its Figure 3 charges both phases (61.0 hours on HotPotQA, "
    "joint 49.3), its Figures 6 and 7 appear to leave the first phase out (37.2 on average; the difference is the 23.8 "
    "hours of generator tuning). With a tuned generator in hand, --have generator, two_phase is the cheaper one, and "
    "the rule turns round."
)


@dataclass(frozen=True)
class Rule:
    """What the paper advises for a case, and the sentence that says why."""

    strategy: str
    because: str


def paper_rule(*, labels: bool, known_learning_rates: bool, have: InHand | None = None) -> Rule:
    """The paper's advice.

    Args:
        labels: the training questions have context labels.
        known_learning_rates: good learning rates for both models are known, so that nothing is searched.
        have: a model that is tuned already, so that its phase costs nothing any more. The paper does not treat this
            case; the advice follows from its hours, without those of the phase in hand.
    """
    if labels or not needs_labels("independent", have):
        if have == "embedder":
            return Rule("independent", "With a tuned embedder in hand only the generator is left to tune, on its own.")
        if have == "generator":
            return Rule("independent", "With a tuned generator in hand and labels, the embedder's cheap phase is all.")
        return Rule("independent", "With context labels, tuning on them costs least.")
    if known_learning_rates and have == "generator":
        return Rule("two_phase", "With a tuned generator in hand only the second phase is left, less than a joint run.")
    if known_learning_rates:
        return Rule("joint", "Without context labels but with known learning rates, one joint run is enough.")
    return Rule("two_phase", "With neither context labels nor known rates, two one-dimensional searches cost least.")


def phase_in_hand(have: InHand) -> Phase:
    """The phase that tuned the model in hand: that of the strategy that tunes it alone, which is named after it."""
    return STRATEGIES[have].phases[-1]


def needs_labels(strategy: str, have: InHand | None) -> bool:
    """Whether a strategy still needs context labels; a model in hand has used those of its phase already."""
    left = [phase for phase in STRATEGIES[strategy].phases if have is None or phase != phase_in_hand(have)]
    return any(phase.needs_labels for phase in left)


def order_is_in_question(rule: str, recommended: str | None) -> bool:
    """Whether rule and measurement differ, and over two_phase or joint, whose order the paper prices in two ways."""
    return rule != recommended and bool({rule, recommended} & {"two_phase", "joint"})
