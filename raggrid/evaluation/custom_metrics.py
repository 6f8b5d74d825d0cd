"""The user's own metrics of answers: functions named in the space, imported and checked."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from raggrid.errors import InputError
from raggrid.evaluation.metrics import AnswerScore

FOLDERS = "RAGGRID_METRIC_FOLDERS"
"""Environment variable of workers: where the driver found the modules of metrics."""
PROBES: Sequence[tuple[str, Sequence[str]]] = (("Paris", ("Paris", "the city of Paris")), ("", ("Paris",)))


def custom_metrics(references: Mapping[str, str]) -> dict[str, AnswerScore]:
    """The metrics of a space by name. They return floats in [0, 1], or raise `InputError` for an answer.

    Args:
        references: ``module:function`` by name.

    Raises:
        InputError: a module cannot be imported, or has no such function.
    """
    return {name: _checked(reference, _function(reference)) for name, reference in references.items()}


def check_custom_metrics(references: Mapping[str, str]) -> None:
    """Import every metric and score two made-up answers with it.

    Raises:
        InputError: with the problems of all metrics.
    """
    problems = list(_problems(references))
    if problems:
        raise InputError("\n".join(problems))


def _problems(references: Mapping[str, str]) -> Iterator[str]:
    for name, reference in references.items():
        try:
            score = custom_metrics({name: reference})[name]
            for prediction, answers in PROBES:
                score(prediction, answers)
        except InputError as error:
            yield str(error)


def folders_of(references: Mapping[str, str]) -> list[str]:
    """The folders from which this process imports the modules, each once; installed ones are left out."""
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found = dict.fromkeys(_folder(reference) for reference in references.values())
    return [str(folder) for folder in found if folder and folder not in installed]


def _folder(reference: str) -> Path | None:
    spec = importlib.util.find_spec(reference.partition(":")[0].partition(".")[0])
    if spec is None or (not spec.has_location and not spec.submodule_search_locations):
        return None
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    return Path(places[0]).absolute().parent


def _function(reference: str) -> Any:
    module_name, _, function_name = reference.partition(":")
    sent = os.environ.get(FOLDERS, "").split(os.pathsep)
    sys.path.extend(folder for folder in sent if folder and folder not in sys.path)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"metrics: got '{reference}'; '{module_name}' cannot be imported: {_told(error)}. Expected an installed "
            "module, or a file beside the space or in the current folder; on a cluster, one that every node has at "
            "the same path. Put it there, or install it on every node."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "has no" if function is None else "is not a function:"
        raise InputError(
            f"metrics: got '{reference}'; {module.__file__ or module_name} {what} '{function_name}'; expected a "
            "function of a prediction and its accepted answers. Check the name."
        )
    return function


def _checked(reference: str, function: Any) -> AnswerScore:
    def score(prediction: str, answers: Sequence[str]) -> float:
        told = f"metrics: {reference}({prediction!r}, {list(answers)!r})"
        try:
            value = function(prediction, list(answers))
        except Exception as error:
            raise InputError(f"{told}: raised {_told(error)}; expected a number from 0 to 1. Fix it.") from error
        found = float(value) if isinstance(value, Real) else math.nan
        if not 0.0 <= found <= 1.0:  # nor nan
            raise InputError(f"{told}: got {value!r}; expected a finite number from 0 to 1. Fix the function.")
        return found

    return score


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")
