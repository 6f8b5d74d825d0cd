"""Who made the context labels of a folder: ``origin.json`` beside the data, where raggrid made them itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raggrid.data.formats.finding import ORIGIN
from raggrid.display_names import told_labels
from raggrid.errors import DataError

FILE = ORIGIN


@dataclass(frozen=True, kw_only=True)
class LabelOrigin:
    """Labels that raggrid made: by which ``rule``, in whose first ``top_k`` passages; and what a person found.

    ``labelled``: questions with a label, of ``questions``. ``checked``: labels that a person looked at, of which
    ``wrong`` are wrong, and the error rate's ``interval`` at 95%; None before that.
    """

    rule: str
    embedder: str
    top_k: int
    questions: int
    labelled: int
    checked: int | None = None
    wrong: int | None = None
    interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``origin.json`` and environment.json hold it."""
        return {"labels": {"made_by": "raggrid", **vars(self)}}

    @property
    def sentence(self) -> str:
        """What a study on such labels says of them."""
        return told_labels(self.to_json()["labels"])


def origin_of(folder: str) -> LabelOrigin | None:
    """What a folder says of its labels; None where it says nothing. Raises `DataError` for a damaged file."""
    path = Path(folder).expanduser() / FILE
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))["labels"]
        known = {name: value for name, value in raw.items() if name in LabelOrigin.__dataclass_fields__}
        interval = known.get("interval")
        return LabelOrigin(**{**known, "interval": tuple(interval) if interval else None})
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: got no record of labels; expected what 'raggrid data label' wrote. Restore it."
        ) from None
