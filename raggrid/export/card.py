"""The model card of an exported pipeline: README.md with the header that the hub reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from raggrid.analysis.recommend import Recommendation
from raggrid.display_names import display_name, label, told_precision
from raggrid.evaluation.metrics import METRICS
from raggrid.export.chosen import Chosen
from raggrid.export.licences import Origin
from raggrid.export.parity import Parity
from raggrid.space.rates import rate_text

NOT_CHECKED = "Parity was not checked: `python check.py texts.json` checks it."


def card(
    chosen: Chosen, origins: Mapping[str, Origin], parity: Parity | None, *, command: str, merged: str, files: str
) -> str:
    """The whole text.

    Args:
        chosen: the pipeline and its study.
        origins: of the base models, by side.
        parity: what the parity check found; None where it was not run.
        command: that made the export.
        merged: what became of merged weights, as a sentence.
        files: the folder's files, one per line.
    """
    own = chosen.pipeline
    name = display_name(own.strategy, own.loss)
    parts = [
        _header(chosen, origins),
        f"# {chosen.results.space.name}: {name}\n",
        f"A tuned retrieval-augmented generation pipeline: embedder, passages with their index, and generator. It is "
        f"the `{name}` pipeline{_seed(chosen)} of a raggrid study.\n",
        *_use(),
        "## How good it is\n",
        *_scores(chosen),
        *_standings(chosen.recommendation),
        "\n## Parity with the evaluation\n",
        *(f"{sentence}\n" for sentence in (parity.sentences if parity else (NOT_CHECKED,))),
        "## What it is made of\n",
        *_made_of(chosen, origins, merged),
        "## Files\n",
        f"{files}\n",
        "## Made by\n",
        f"```\n{command}\n```\n",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _header(chosen: Chosen, origins: Mapping[str, Origin]) -> str:
    """YAML: its values are JSON, which YAML contains."""
    names = [origin.hub_name for origin in origins.values() if origin.hub_name]
    known = {(origin.licence or "").lower() for origin in origins.values()}
    about: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "question-answering",
        "tags": ["retrieval-augmented-generation", "raggrid", "peft"],
        **({"base_model": names} if names else {}),
        **({"license": licence} if len(known) == 1 and (licence := next(iter(known))) else {}),
        "model-index": [_indexed(chosen)],
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in about.items()), "---\n"])


def _indexed(chosen: Chosen) -> dict[str, Any]:
    own, space = chosen.pipeline, chosen.results.space
    scores = [
        {"type": name, "name": label(name), "value": round(100 * value, 2)}
        for name in ("exact_match", "f1") if (value := getattr(own, name)) is not None
    ]  # fmt: skip
    data = {"type": space.name, "name": space.name, "split": own.split}
    task = {"type": "question-answering"}
    return {"name": f"{space.name}-{own.strategy}", "results": [{"task": task, "dataset": data, "metrics": scores}]}


def _seed(chosen: Chosen) -> str:
    return f", seed {chosen.pipeline.seed}," if len(chosen.results.space.seeds) > 1 else ""


def _use() -> Iterator[str]:
    yield "```python\nfrom load import answer, retrieve  # in this folder\n"
    yield 'answer(["..."])         # texts\nretrieve(["..."], k=3)  # passages with their scores\n```\n'
    yield (
        "`load.py` needs torch, transformers, sentence-transformers, faiss and, for an adapter, peft; not raggrid. "
        "With raggrid, `raggrid ask` and `raggrid serve` take this folder.\n"
    )


def _scores(chosen: Chosen) -> Iterator[str]:
    own = chosen.pipeline
    names = [name for name in METRICS if not name.startswith("recall")]
    found = [(label(name), value) for name in names if (value := getattr(own, name, None)) is not None]
    if own.recall_at_k is not None:
        found.append((f"recall@{own.k}", own.recall_at_k))
    yield f"On the {own.num_questions:,} questions of the {own.split} split:\n"
    yield f"| {' | '.join(name for name, _ in found)} |\n|{'---|' * len(found)}"
    yield f"| {' | '.join(f'{100 * value:.1f}' for _, value in found)} |\n"
    deploy = chosen.recommendation.deploy
    if deploy and chosen.is_recommended:
        yield f"`raggrid recommend` says to deploy it ({deploy.grade}). {deploy.reason}\n"
    elif deploy:
        told = display_name(deploy.strategy, deploy.loss)
        yield f"`raggrid recommend` says to deploy {told} instead. {deploy.reason}\n"
    if own.split == "validation":
        yield "There was no test split: winners were picked on these questions.\n"


def _standings(found: Recommendation) -> Iterator[str]:
    if not found.standings:
        return
    metric, sure = label(found.metric), f"{100 * found.confidence:.0f}%"
    yield f"All strategies of the study in {metric}, and the difference to the best of the others ({sure} intervals):\n"
    yield f"| strategy | {metric} | difference | interval |\n|---|---|---|---|"
    for row in found.standings:
        name, numbers = display_name(row.strategy, row.loss), (row.difference, row.low, row.high)
        apart, low, high = (f"{100 * value:+.1f}" for value in numbers)
        yield f"| {name} | {100 * row.score:.1f} | {apart} | {low} to {high} |"
    yield "\n"
    yield from (f"{sentence} " for sentence in (found.grounds.sentences if found.grounds else ()))
    yield from (f"\nWarning: {sentence}" for sentence in found.warnings)
    yield ""


def _made_of(chosen: Chosen, origins: Mapping[str, Origin], merged: str) -> Iterator[str]:
    own, noted, space = chosen.pipeline, chosen.results.environment, chosen.results.space
    rates = {"embedder": own.embedder_lr, "generator": own.generator_lr}
    trials = {"embedder": own.embedder_trial_id, "generator": own.generator_trial_id}
    for side, origin in origins.items():
        commit = noted.get("model_commits", {}).get(side)
        revision = f", commit {commit}" if commit else f", sha256 {digest}" if (digest := _digest(noted, side)) else ""
        rate = rates[side]
        tuned = f"tuned by trial {trials[side]}" if trials[side] else "not tuned"
        at = f" at learning rate {rate_text(rate)}" if trials[side] and rate is not None else ""
        yield f"- {side}: `{origin.reference}`{revision}, {tuned}{at}; licence {origin.licence or 'not stated'}"
    data = noted.get("data", {})
    held = f", content {str(data['content_hash'])[:16]}" if data.get("content_hash") else ""
    counts = f"{data.get('num_passages', 0):,} passages"
    yield f"- data: `{_data_name(space.data)}`, {counts}{held}; licence not recorded: see its source"
    versions = ", ".join(f"{name} {version}" for name, version in noted.get("versions", {}).items() if version)
    yield f"- evaluated with {versions}; {told_precision(noted['precision'])}" if noted.get("precision") else ""
    yield f"- {merged}\n"


def _data_name(data: Any) -> str:
    """Without a path of the machine that trained it."""
    return str(data.folder).rstrip("/").rpartition("/")[2]


def _digest(noted: Mapping[str, Any], side: str) -> str | None:
    found = noted.get("models", {}).get(side)
    return str(found)[:16] if found else None
