"""The exception tree: what can go wrong, and the exit code each branch ends with.

RaggridError
├── InputError          the user's input is wrong; nothing was written         exit 2
│   ├── SpaceError      the search space
│   ├── DataError       corpus, questions, labels
│   └── ModelError      a model reference or a model file
├── RecordError         a run directory that cannot be read or written         exit 2
├── StudyError          a study that could not be completed                    exit 1
└── StudyInterrupted    Ctrl-C or SIGTERM; what is finished is on disk         exit 130

Every message reads ``where: got X; expected Y. Next step.`` Errors carry plain strings only, so that they
unpickle in another process.
"""

from __future__ import annotations

from collections.abc import Iterable


class RaggridError(Exception):
    """Base of every error that raggrid raises on purpose; ``exit_code`` is the command's."""

    exit_code = 1


class InputError(RaggridError):
    """Wrong input, with every problem found; the message has one line per problem."""

    exit_code = 2


class SpaceError(InputError):
    """The search space is wrong: unknown keys, wrong values, impossible combinations."""


class DataError(InputError):
    """Corpus or questions are missing, malformed or do not fit together."""


class ModelError(InputError):
    """A model reference that names nothing, or whose files are not the expected ones."""


class RecordError(RaggridError):
    """A run directory is missing, damaged, or belongs to another study."""

    exit_code = 2


class StudyError(RaggridError):
    """A study ended without the result that it was asked for."""


class StudyInterrupted(RaggridError):
    """A study was stopped from outside; everything finished is on disk."""

    exit_code = 130


def listed(where: str, problems: Iterable[str], advice: str = "", *, max_shown: int | None = None) -> str:
    """One message for all the problems found at one location.

    A single problem reads ``where: problem``; several read ``where: N problems`` and one indented line each. The
    ``advice`` that they share comes last. At most ``max_shown`` problems are listed; all are counted.
    """
    lines = list(problems)
    if len(lines) == 1:
        return f"{where}: {lines[0]} {advice}".rstrip()
    kept = lines[:max_shown]
    more = [f"  ... and {len(lines) - len(kept)} more"] if len(kept) < len(lines) else []
    head = f"{where}: {len(lines)} problems"
    return "\n".join([head, *(f"  {line}" for line in kept), *more, *([advice] if advice else [])])
