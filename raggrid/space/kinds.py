"""What a setting can be: kinds of numbers, switches, and a section of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag


def number(value: object) -> object:
    """PyYAML reads ``1e-6`` as a string, and ``True`` is an int: accept the first, refuse the second."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("expected a number") from None
    return value


def switch(value: object) -> object:
    """YAML reads ``on`` and ``off`` as True and False."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Number = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0.0)]
Rate = Annotated[Number, Field(gt=0.0, le=1.0)]
Count = Annotated[int, BeforeValidator(number), Field(ge=1)]
Natural = Annotated[int, BeforeValidator(number), Field(ge=0)]


def _auto_or_natural(value: object) -> str:
    return "auto_form" if value == "auto" else "natural_form"


# Tagged, so that a wrong value is checked against the one form that it looks like.
AutoOrNatural = Annotated[
    Annotated[Literal["auto"], Tag("auto_form")] | Annotated[Natural, Tag("natural_form")],
    Discriminator(_auto_or_natural),
]


def _one_or_by_type(value: object) -> str:
    return "by_type_form" if isinstance(value, Mapping) else "one_form"


OneOrByType = Annotated[
    Annotated[Positive, Tag("one_form")] | Annotated[dict[str, Positive], Field(min_length=1), Tag("by_type_form")],
    Discriminator(_one_or_by_type),
]
"""A number, or one for each name of a type."""


class Section(BaseModel):
    """One block of the space: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
