"""What raggrid says about a cluster that is too small, tokens and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.backend.ray.addresses import has_token
from raggrid.backend.ray.cluster import _allocation, _knock, resources
from raggrid.errors import StudyError
from raggrid.space.settings import Resources


def test_slots_are_what_the_cluster_holds() -> None:
    total = {"CPU": 8.0, "GPU": 2.0}
    assert _allocation(total, Resources(workers=1)).slots == 2
    assert _allocation(total, Resources(workers=2)).slots == 1
    assert _allocation(total, Resources(workers=1, gpus_per_worker=0.5)).slots == 4
    assert _allocation(total, Resources(workers=1, max_concurrent_trials=1)).slots == 1
    assert _allocation({"CPU": 3.0}, Resources(workers=0)).slots == 3


def test_trials_run_on_groups_on_clusters_and_where_they_hold_a_gpu_unless_said_otherwise() -> None:
    cpus, gpus = {"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}
    assert _allocation(cpus, Resources()).workers == 0
    assert _allocation(cpus, Resources(), on_cluster=True).workers == 1
    assert _allocation(gpus, Resources()).workers == 1
    assert _allocation(gpus, Resources(gpus_per_worker=0)).workers == 0
    assert _allocation(gpus, Resources(workers=0), on_cluster=True).workers == 0
    assert _allocation(cpus, Resources(workers=2)).workers == 2


def test_trials_share_a_gpu_by_the_fraction_that_each_holds() -> None:
    shared = _allocation({"CPU": 16.0, "GPU": 2.0}, Resources(gpus_per_worker=0.25))
    assert (shared.slots, shared.workers, shared.gpus) == (8, 1, 0.25)
    assert resources(shared.cpus, shared.gpus) == {"CPU": 1, "GPU": 0.25}


def test_the_kinds_of_device_are_known_by_rays_names() -> None:
    total = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A10G": 2.0, "node:10.0.0.1": 1.0}
    assert _allocation(total, Resources(workers=1)).device_types == ("A10G",)
    assert _allocation(total, Resources(workers=1, gpus_per_worker=0)).device_types == ("cpu",)
    assert _allocation({"CPU": 1.0, "GPU": 1.0}, Resources()).device_types == ("gpu",)


def test_a_cluster_that_cannot_hold_one_trial_is_refused() -> None:
    with pytest.raises(StudyError, match=r"a trial asks for 4 x \(1 CPU, 0 GPU\); the cluster has 2 CPU"):
        _allocation({"CPU": 2.0}, Resources(workers=4))
    with pytest.raises(StudyError, match="1 GPU"):
        _allocation({"CPU": 2.0}, Resources(workers=1, gpus_per_worker=1))


def test_a_token_is_found_where_ray_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert not has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert has_token()


def test_only_addresses_with_a_port_are_knocked_at() -> None:
    _knock("auto")
    _knock("ray://head:10001")
    with pytest.raises(OSError, match="refused"):
        _knock("127.0.0.1:1")
