"""Names of trials and pipelines: the same for the same study, in every release, wherever its data and models lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from raggrid.identity import Contents, PhaseRun, pipeline_id, study_key, trial_id
from raggrid.records import TrialRecord
from raggrid.space import schema
from raggrid.space.kinds import Section
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Prompt, Retrieval
from raggrid.store.tables import read, read_environment, read_space
from raggrid.worker.environment import recorded_contents
from tests.records import SPACE, made_space

ASSETS = Path(__file__).parent / "assets"
HELD = Contents(data="h", models={"embedder": {"model.safetensors": "1"}, "generator": {"model.gguf": "2"}})
RUN = PhaseRun("generator_rag", "rag_token", 0, None, 1e-4, 24)


class LaterPrompt(Prompt):
    """A prompt with a setting that a later release adds."""

    terse: bool = False


class LaterSpace(SearchSpace):
    """The space of that release."""

    prompt: LaterPrompt = LaterPrompt()


def later(version: int, **prompt: object) -> SearchSpace:
    return LaterSpace.model_validate(schema.upgraded({**SPACE, "prompt": prompt, "schema_version": version}))


@pytest.mark.parametrize("version", [0, 1])
def test_a_setting_with_a_default_that_a_release_adds_renames_nothing(version: int) -> None:
    assert study_key(later(version), HELD) == study_key(made_space(schema_version=version), HELD)


def test_another_value_of_it_makes_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = study_key(made_space(schema_version=1), HELD)
    assert study_key(later(1, terse=True), HELD) != plain
    monkeypatch.setattr(
        "raggrid.identity.ADDED", {**schema.ADDED, "prompt.terse": True}
    )  # what studies did before it was there
    assert study_key(later(1, terse=True), HELD) == plain
    assert study_key(later(1, terse=False), HELD) != plain


class ChangedPrompt(Prompt):
    """A prompt of which a later release has changed a default."""

    passage_tokens: int = 512


class ChangedSpace(SearchSpace):
    """The space of that release."""

    prompt: ChangedPrompt = ChangedPrompt()


def test_a_changed_default_renames_no_study_of_either_value() -> None:
    before = {tokens: study_key(made_space(prompt={"passage_tokens": tokens}), HELD) for tokens in (256, 512)}
    assert before[256] == study_key(made_space(), HELD) != before[512]
    assert study_key(ChangedSpace.model_validate(SPACE), HELD) == before[512]
    assert study_key(ChangedSpace.model_validate({**SPACE, "prompt": {"passage_tokens": 256}}), HELD) == before[256]


class LaterRetrieval(Section):
    """Retrieval after ``top_k`` was renamed."""

    passages: int = 2
    temperature: float = Retrieval().temperature


class RenamedSpace(SearchSpace):
    """The space of that release."""

    retrieval: LaterRetrieval = LaterRetrieval()  # type: ignore[assignment]


@pytest.mark.parametrize("version", [0, 1])
def test_a_renamed_setting_keeps_its_part_in_a_name(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    before = study_key(made_space(retrieval={"top_k": 5}, schema_version=version), HELD)
    monkeypatch.setattr(schema, "RENAMED", {"retrieval.top_k": "retrieval.passages"})
    raw = schema.upgraded({**SPACE, "retrieval": {"top_k": 5}, "schema_version": version})
    now = RenamedSpace.model_construct(**{**dict(made_space(schema_version=version)),
                                          "retrieval": LaterRetrieval.model_validate(raw["retrieval"])})  # fmt: skip
    assert now.retrieval.passages == 5  # type: ignore[attr-defined]
    assert study_key(now, HELD) == before


def test_keys_are_those_of_the_releases_that_made_them() -> None:
    """The first was computed by the code before there were schema versions."""
    assert study_key(made_space(schema_version=0), HELD) == "1a06a0da67"
    assert study_key(made_space(schema_version=1), HELD) == "ac6bc2f700"
    assert study_key(made_space(), HELD) == "2f4d89c92b"
    assert trial_id(RUN, "1a06a0da67") == "generator_rag-03095a3ca4"
    assert pipeline_id("joint", "rag_token", 1, "e", "g", "k") == "joint-a0f683a14a"


@pytest.mark.parametrize("name", ["run-0.1.0-schema0", "run-0.1.0"])
def test_the_trials_of_recorded_runs_are_named_as_they_were(name: str) -> None:
    run = ASSETS / name
    space, environment = read_space(run), read_environment(run)
    key = study_key(space, recorded_contents(environment, space))
    assert environment.get("study_key", key) == key
    rows = read(run, TrialRecord)
    assert len(rows) == 6
    for row in rows:
        made = PhaseRun(
            row.phase, row.loss, row.seed, row.embedder_lr, row.generator_lr, row.max_steps, row.upstream_trial_id
        )
        assert trial_id(made, key) == row.trial_id


def test_it_is_the_content_that_counts() -> None:
    here, there = made_space(), made_space(data={"folder": "e"}, models={"embedder": "/x/e", "generator": "g.gguf"})
    assert study_key(here, HELD) == study_key(there, HELD)
    assert study_key(here, HELD) != study_key(here, replace(HELD, data="i"))
    weights = {**HELD.models, "embedder": {"model.safetensors": "3"}}
    assert study_key(here, HELD) != study_key(here, replace(HELD, models=weights))
    unknown = replace(HELD, models={"generator": HELD.models["generator"]})
    assert study_key(here, unknown) != study_key(there, unknown)


def test_checks_of_weights_are_no_part_of_a_study() -> None:
    pinned = made_space(models={"embedder": "e", "generator": "g", "generator_sha256": "2"})
    assert study_key(pinned, HELD) == study_key(made_space(), HELD)


@dataclass(frozen=True)
class LaterRun(PhaseRun):
    """A phase run with a field that a later release adds."""

    epochs: int | None = None


def test_a_field_that_a_release_adds_to_phase_runs_renames_no_trial() -> None:
    assert trial_id(LaterRun(**vars(RUN)), "key") == trial_id(RUN, "key")
    assert trial_id(LaterRun(**vars(RUN), epochs=2), "key") != trial_id(RUN, "key")
