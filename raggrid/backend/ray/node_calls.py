"""A question to a process on a certain node of the connected cluster, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

ANSWER_SECONDS = 180.0  # a node may have to start a process, import torch and reach a file system


class NoAnswer(str):
    """Why there is none."""


def ask(node_id: str, what: Callable[..., object], *given: object, calls: int = 0, **options: Any) -> Any:
    """Call a function on a node; returns what `answers` takes.

    ``calls``: after how many its process ends, 0 for never. ``options``: Ray's for a task; by default it holds nothing.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
    asked = ray.remote(num_cpus=0, max_retries=1, max_calls=calls)(what)
    return asked.options(scheduling_strategy=pinned, **options).remote(*given)


def answers(asked: Sequence[Any], seconds: float = ANSWER_SECONDS) -> list[Any]:
    """What was answered within the time, in order; a `NoAnswer` for the others."""
    import ray

    if asked:
        ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    return [_answer(each) for each in asked]


def _answer(asked: Any) -> Any:
    import ray

    try:
        return ray.get(asked, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(asked, force=True)
        return NoAnswer("not in time")
    except Exception as error:
        return NoAnswer(f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}")
