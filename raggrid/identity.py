"""What makes a phase run or a pipeline the same one: its name is a digest of all that determines it.

Names survive releases: a setting or a field of `PhaseRun` that a release adds counts only where its value is not the
one that reproduces what earlier releases did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from raggrid.space.schema import ADDED, CONTENT, FIRST, SECTIONS, WITHOUT_EFFECT, first_keys, flat, nested
from raggrid.space.search_space import SearchSpace

FIRST_FIELDS = ("phase", "loss", "seed", "embedder_lr", "generator_lr", "max_steps", "upstream_trial_id")


@dataclass(frozen=True)
class PhaseRun:
    """One trial before it runs: everything of the study that is particular to it."""

    phase: str
    loss: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    max_steps: int
    upstream_trial_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What data and models contain, wherever they are stored.

    ``data``: the dataset's content hash; None where it was not recorded. ``models``: for embedder and generator, the
    sha256 of each file by its name; a model whose files are not on this machine is missing.
    """

    data: str | None
    models: Mapping[str, Mapping[str, str]]


def trial_id(run: PhaseRun, study_key: str) -> str:
    """The name of a phase run: equal for equal identity. ``study_key`` stands for models, data and settings."""
    values, later = asdict(run), [field for field in fields(run) if field.name not in FIRST_FIELDS]
    unsaid = {field.name for field in later if values[field.name] == field.default}
    told = {name: value for name, value in values.items() if name not in unsaid}
    return f"{run.phase}-{_digest({**told, 'study': study_key})}"


def pipeline_id(
    strategy: str, loss: str | None, seed: int, embedder_trial_id: str | None, generator_trial_id: str | None, key: str
) -> str:
    """The name of a pipeline: its strategy, its seed and the trials that its two sides come from."""
    parts = [strategy, loss, seed, embedder_trial_id, generator_trial_id, key]
    return f"{strategy}-{_digest(parts)}"


def study_key(space: SearchSpace, contents: Contents) -> str:
    """What all phase runs of a study share: the contents of models and data, and the settings that affect numbers.

    A setting counts where it differs from the first schema's default, so that equal studies of any two releases have
    equal keys. A model whose files are not on this machine counts by its reference. Under schema 0 all its settings
    counted, and every model by its reference.
    """
    sections = {name: getattr(space, name) for name in SECTIONS}
    settings = first_keys(flat({name: each.model_dump(mode="json") for name, each in sections.items()}))
    if space.schema_version == 0:
        kept = {key: value for key, value in settings.items() if key in FIRST or key in CONTENT}
        return _digest({"space": nested(kept), "data": contents.data})
    # A setting that schema.py does not list yet runs as before at its default.
    said = flat({name: each.model_dump(mode="json", exclude_defaults=True) for name, each in sections.items()})
    known = {**FIRST, **ADDED}
    distinct = {
        key: value
        for key, value in settings.items()
        if key not in (*CONTENT, *WITHOUT_EFFECT) and (value != known[key] if key in known else key in said)
    }
    models = {side: contents.models.get(side) or getattr(space.models, side) for side in ("embedder", "generator")}
    return _digest({"settings": distinct, "models": models, "data": contents.data})


def scoring_key(space: SearchSpace) -> str:
    """What the scores of a study's answers follow from beside the weights of a generator: prompt and precision."""
    models = space.models.model_dump(mode="json", include={"generator", "dtype", "attention"})
    return _digest({"prompt": space.prompt.model_dump(mode="json"), "models": models})


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
