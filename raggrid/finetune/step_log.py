"""What a training step did, and which steps are logged: a sample that shows the course of a run in about 200 rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from raggrid.records import StepRecord

MOST_ROWS = 200  # per trial; a curve of more points looks the same


@dataclass(frozen=True)
class StepTaken:
    """One step, counted from 1. ``rates`` and ``norms``, by model, are the learning rate and the gradient's norm.

    ``num_tokens``: read by the models of all workers. Where ``problem`` is None the weights were updated.
    """

    step: int
    loss: float
    rates: Mapping[str, float]
    norms: Mapping[str, float]
    num_tokens: int

    @property
    def problem(self) -> str | None:
        """What is not finite about it; None for a sound step."""
        unsound = {side: norm for side, norm in self.norms.items() if not math.isfinite(norm)}
        if math.isfinite(self.loss) and not unsound:
            return None
        found = [f"loss {self.loss:g}", *(f"gradient norm of the {side} {norm:g}" for side, norm in unsound.items())]
        return (
            f"diverged at step {self.step}: got {', '.join(found)}; expected finite numbers. Lower the learning rate."
        )

    def row(self, trial_id: str, seconds: float) -> StepRecord:
        """The step as it is recorded; it took ``seconds``."""
        return StepRecord(
            trial_id=trial_id, step=self.step, loss=self.loss,
            embedder_lr=self.rates.get("embedder"), generator_lr=self.rates.get("generator"),
            embedder_grad_norm=self.norms.get("embedder"), generator_grad_norm=self.norms.get("generator"),
            tokens_per_second=self.num_tokens / max(seconds, 1e-9),
        )  # fmt: skip


def is_logged(step: int, max_steps: int, evaluated: Collection[int]) -> bool:
    """Whether step ``step`` of ``max_steps`` is logged: the first, the last, those ``evaluated``, and every so many.

    >>> [step for step in range(1, 1001) if is_logged(step, 1000, {7})][:4]
    [1, 5, 7, 10]
    """
    stride = math.ceil(max_steps / MOST_ROWS)
    return step in (1, max_steps) or step in evaluated or step % stride == 0
