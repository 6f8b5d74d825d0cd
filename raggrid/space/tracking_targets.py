"""Where trials are tracked beside the run directory, as users name it."""

from __future__ import annotations

from collections.abc import Mapping

# Each kind of tracker, and what stands behind its colon.
TARGETS: Mapping[str, str] = {"tensorboard": "DIR", "mlflow": "URI", "wandb": "PROJECT", "trackio": "PROJECT"}


def parsed(target: str) -> tuple[str, str]:
    """(kind, place) of ``kind:place``. Raises ``ValueError`` with what was expected."""
    kind, colon, place = target.partition(":")
    if kind not in TARGETS or not colon or not place:
        forms = ", ".join(f"{name}:{what}" for name, what in TARGETS.items())
        raise ValueError(f"expected one of {forms}")
    return kind, place


def checked_target(target: str) -> str:
    """The target as it is. Raises ``ValueError`` as `parsed`."""
    parsed(target)
    return target
