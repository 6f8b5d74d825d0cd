"""How large a model is: what its cost and its memory follow from."""

from __future__ import annotations

from dataclasses import dataclass

USABLE_MEMORY = 0.9
"""Share of a device's memory that a trial plans with: the driver takes some, and free blocks are not all of a size."""


@dataclass(frozen=True)
class ModelSize:
    """A transformer's size. ``parameters`` counts all, ``embeddings`` the rows of the vocabulary among them (one copy).

    ``tied``: the output layer is the same matrix. ``source`` says where the numbers come from.
    """

    parameters: float
    embeddings: float
    hidden_size: int
    num_layers: int
    tied: bool
    source: str

    @property
    def body(self) -> float:
        """Parameters that every token passes through: without input and output vocabulary."""
        return self.parameters - self.embeddings * (1 if self.tied else 2)
