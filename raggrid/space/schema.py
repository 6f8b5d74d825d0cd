"""Versions of the search space's schema: what a setting that a space leaves out meant when its study was begun.

A run directory's space.yaml has every default filled in and says under which version (``schema_version``) its study
was begun; without the key a recorded space is of version 0, a user's of `CURRENT`. Releases may

- add a setting: put it into `ADDED` with the value under which studies run as they did before it existed. If its
  default is another value, treat that as a changed default too.
- change a default: raise `CURRENT` by one and put the new value into `CHANGED` under the new number.
- rename a setting: map each of its old keys to the new one in `RENAMED`. The tables here and the identities of studies
  keep a setting's first key.

Older studies then keep their trials' names and their values; new ones get the new default. Nothing is ever removed from
these tables. A test compares `defaults` of `CURRENT` with settings.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CURRENT = 3
"""Version 1 has the settings of version 0; studies of version 0 named their trials otherwise (see identity.py). Version
2 takes models as their makers meant them: chat templates, whole passages, every gold passage, samples, precision.
Version 3 runs trials on worker groups where they belong."""
FIRST: Mapping[str, object] = json.loads(Path(__file__).with_name("schema_1.json").read_text(encoding="utf-8"))
"""Version 1: every setting that has a default, and the default."""
ADDED: Mapping[str, object] = {
    "answer.engine": "transformers",
    "answer.examples": 3,
    "data.chunk_overlap": 32,
    "data.chunk_tokens": None,
    "data.corpus": None,
    "data.format": "auto",
    "data.sample": "first",
    "metrics": [],
    "models.question_prompt": None,
    "models.passage_prompt": None,
    "models.truncate_dim": None,
    "models.quantization": "none",
    "prompt.chat": "off",
    "prompt.window": "start",
    "retrieval.index": "flat",
    "retrieval.vectors": "float32",
    "tracking": [],
    "training.embedder": "full",
    "training.labels.positives": "first",
    "training.labels.hard_negatives": 0,
    "training.labels.epochs": None,
    "training.rag.epochs": None,
    "training.checkpoint_minutes": 0.0,
    "training.rag.micro_batch_size": None,
    "training.activation_checkpointing": False,
    "training.sharding": "none",
}
CHANGED: Mapping[int, Mapping[str, object]] = {
    2: {
        "data.sample": "random",
        "models.dtype": "auto",
        "models.attention": "auto",
        "prompt.chat": "auto",
        "prompt.passage_tokens": 256,
        "training.labels.positives": "all",
        "training.checkpoint_minutes": 10.0,
    },
    3: {
        "resources.workers": "auto",
        "learning_rates.embedder.batch": None,
        "learning_rates.generator.batch": None,
    },
}
RENAMED: Mapping[str, str] = {}
SECTIONS = ("models", "retrieval", "prompt", "training")
"""What the numbers of a trial follow from; the rest says which trials there are, or where they run."""
CONTENT = ("models.embedder", "models.generator", "models.embedder_sha256", "models.generator_sha256")
"""References to models and checks of them: it is their content that counts."""
WITHOUT_EFFECT = (
    "training.labels.epochs", "training.rag.epochs", "training.checkpoint_minutes", "training.rag.micro_batch_size",
    "training.activation_checkpointing", "training.sharding",
)  # fmt: skip
"""Settings of `SECTIONS` that no number follows from: of a length in epochs, it is the steps that count."""
DRAWN = ("learning_rates.embedder.", "learning_rates.generator.")
"""Sections that a space has only where its learning rates are drawn instead of listed."""


def defaults(version: int) -> dict[str, object]:
    """Every setting's default as of a schema version, by the setting's first key."""
    found = {**FIRST, **ADDED}
    for later in range(1, version + 1):
        found |= CHANGED.get(later, {})
    return found


def upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A space as plain data in today's keys, with the defaults of its own version where today's are others."""
    made = copy.deepcopy(dict(raw))
    for old, new in RENAMED.items():
        section, leaf = _place(made, old)
        if leaf in section:
            target, name = _place(made, new, make=True)
            target[name] = section.pop(leaf)
    version = made.get("schema_version", CURRENT)
    if isinstance(version, int) and 0 <= version < CURRENT:
        now = defaults(CURRENT)
        for key, value in defaults(version).items():
            if value != now[key]:
                section, leaf = _place(made, RENAMED.get(key, key), make=not key.startswith(DRAWN))
                section.setdefault(leaf, value)
    return made


def nested(settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings by dotted key as nested mappings; undoes `flat`."""
    made: dict[str, Any] = {}
    for key, value in settings.items():
        section, leaf = _place(made, key, make=True)
        section[leaf] = value
    return made


def _place(raw: dict[str, Any], key: str, *, make: bool = False) -> tuple[dict[str, Any], str]:
    """The section of a dotted key, and the key's name in it; a new section outside ``raw`` where it has none."""
    *parents, leaf = key.split(".")
    for name in parents:
        found = raw.setdefault(name, {}) if make else raw.get(name)
        if not isinstance(found, dict):
            return {}, leaf
        raw = found
    return raw, leaf


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def first_keys(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings by the keys that they had first."""
    old = {new: old for old, new in reversed(list(RENAMED.items()))}
    return {old.get(key, key): value for key, value in settings.items()}
