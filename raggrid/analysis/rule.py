"""The paper's rule: Lawton, Samuel, Kumar and Liu, Findings of EMNLP 2025, arXiv 2510.01600."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """What the paper advises for a case, and the sentence that says why."""

    strategy: str
    because: str


def paper_rule(*, labels: bool, known_learning_rates: bool) -> Rule:
    """The paper's advice.

    Args:
        labels: the training questions have context labels.
        known_learning_rates: good learning rates for both models are known, so that nothing is searched.
    """
    if labels:
        return Rule("independent", "There are context labels, and tuning on them costs least.")
    if known_learning_rates:
        return Rule("joint", "Without context labels but with known learning rates, one joint run is enough.")
    return Rule("two_phase", "With neither context labels nor known rates, two one-dimensional searches cost least.")
