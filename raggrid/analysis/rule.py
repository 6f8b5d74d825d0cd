"""The paper's rule: Lawton, Samuel, Kumar and Liu, Findings of EMNLP 2025, arXiv 2510.01600."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raggrid.strategies import STRATEGIES, Phase

InHand = Literal["generator", "embedder"]
# Its Figures 3, 6 and 7, HotPotQA: the means over four pipelines of wall hours on one node with 8 A10.
TWO_WAYS_OF_COUNTING = (
    "The paper counts the hours of two_phase in two ways: its Figure 3 counts both phases (61.0 hours on HotPotQA, "
    "joint 49.3), its Figures 6 and 7 appear to leave the first phase out (37.2 on average; the difference is the 23.8 "
    "hours of generator tuning). If the generator is tuned already (--have generator), two_phase costs less than "
    "joint, and the rule is reversed."
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
        known_learning_rates: good learning rates for both models are known, so nothing is searched.
        have: a model that is tuned already, so its phase costs nothing any more. The paper does not treat this
            case; the advice follows from its hours, without those of that phase.
    """
    if labels or not needs_labels("independent", have):
        because = {
            "embedder": "With the embedder tuned already, only the generator is left to tune, on its own.",
            "generator": "With the generator tuned already and context labels, only the cheap phase is left.",
            None: "With context labels, tuning on them costs least.",
        }
        return Rule("independent", because[have])
    if known_learning_rates and have == "generator":
        return Rule(
            "two_phase", "With the generator tuned already, the second phase alone costs less than a joint run."
        )
    if known_learning_rates:
        return Rule("joint", "Without context labels but with known learning rates, one joint run is enough.")
    return Rule("two_phase", "With neither context labels nor known rates, two one-dimensional searches cost least.")


def phase_in_hand(have: InHand) -> Phase:
    """The phase that tuned the model: that of the strategy that tunes only this model, which is named after it."""
    return STRATEGIES[have].phases[-1]


def needs_labels(strategy: str, have: InHand | None) -> bool:
    """Whether a strategy still needs context labels; a model that is tuned already has used those of its phase."""
    left = [phase for phase in STRATEGIES[strategy].phases if have is None or phase != phase_in_hand(have)]
    return any(phase.needs_labels for phase in left)


def order_is_in_question(rule: str, recommended: str | None) -> bool:
    """Whether rule and measurement differ over two_phase or joint, whose order depends on how the paper counts."""
    return rule != recommended and bool({rule, recommended} & {"two_phase", "joint"})
