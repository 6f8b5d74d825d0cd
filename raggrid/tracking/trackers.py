"""The trackers by the names that users give, such as ``tensorboard:DIR``; each imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol

from raggrid.errors import InputError
from raggrid.space.tracking_targets import parsed
from raggrid.tracking.tracked_trials import Point, TrackedTrial

Known = set[tuple[str, int]]


class Tracker(Protocol):
    """Keeps one run per trial, found again by the trial's name. Anything that it raises ends the tracking alone."""

    def known(self, trial: TrackedTrial) -> Known:
        """(name, step) of the points that the tracker has of a trial; called once per trial and process."""

    def write(self, trial: TrackedTrial, points: Sequence[Point]) -> None:
        """Add points that it does not have, and bring settings and status up to date."""

    def close(self) -> None:
        """All of it is written for good when this returns."""


class _Library(NamedTuple):
    """What a tracker needs: the module to find, and where its own class is."""

    module: str
    place: str
    name: str


LIBRARIES: Mapping[str, _Library] = {
    "tensorboard": _Library("tensorboardX", "tensorboard", "TensorBoard"),
    "mlflow": _Library("mlflow", "mlflow_runs", "MlflowRuns"),
    "wandb": _Library("wandb", "wandb_runs", "WandbRuns"),
    "trackio": _Library("trackio", "trackio_runs", "TrackioRuns"),
}


def check_targets(targets: Sequence[str]) -> None:
    """Refuse trackers that cannot be opened here. Opens none.

    Raises:
        InputError: a target of an unknown kind, or one whose library is not installed.
    """
    for target in targets:
        library = LIBRARIES[_parsed(target)[0]]
        if find_spec(library.module) is None:
            raise InputError(
                f"{target}: needs {library.module}, which is not installed here. pip install 'raggrid[tracking]'."
            )


def open_tracker(target: str) -> Tracker:
    """The tracker that a target names. Raises `InputError` as `check_targets`."""
    check_targets([target])
    kind, place = _parsed(target)
    library = LIBRARIES[kind]
    made: Tracker = getattr(import_module(f"raggrid.tracking.{library.place}"), library.name)(place)
    return made


def _parsed(target: str) -> tuple[str, str]:
    try:
        return parsed(target)
    except ValueError as error:
        raise InputError(f"--to: got '{target}'; {error}.") from None
