"""What raggrid says about a cluster that is too small, tokens and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.backend.ray.addresses import has_token
from raggrid.backend.ray.cluster import _knock, session
from raggrid.backend.ray.room import Allocation, allocation, resources
from raggrid.backend.ray.search import _check_prices
from raggrid.errors import InputError, StudyError
from raggrid.space.settings import Resources
from tests.records import made_space


def alone(node: dict[str, float], wanted: Resources, *, on_cluster: bool = False) -> Allocation:
    """On one node that nobody else uses."""
    return allocation([node], [node], wanted, on_cluster=on_cluster)


def test_slots_follow_how_workers_fit_on_nodes() -> None:
    three = [{"CPU": 3.0}] * 3
    assert allocation(three, three, Resources(cpus_per_worker=2)).slots == 3  # not four of nine CPUs
    assert allocation(three, three, Resources(cpus_per_worker=2, workers=2)).slots == 1
    shared = [{"CPU": 4.0, "GPU": 1.0}] * 2
    assert allocation(shared, shared, Resources(gpus_per_worker=0.1)).slots == 8
    assert allocation(shared, shared, Resources(gpus_per_worker=0.3, cpus_per_worker=1)).slots == 6


def test_what_others_hold_is_no_room() -> None:
    total, free = [{"CPU": 64.0, "GPU": 8.0}] * 8, [{"CPU": 64.0, "GPU": 8.0}, *[{"CPU": 8.0}] * 7]
    assert allocation(total, free, Resources()).slots == 8
    with pytest.raises(StudyError, match="each on one node; the cluster has 512 CPU, 64 GPU, on nodes: 8"):
        allocation(total, [{"CPU": 64.0}] * 8, Resources())


def test_slots_are_what_the_cluster_holds() -> None:
    total = {"CPU": 8.0, "GPU": 2.0}
    assert alone(total, Resources(workers=1)).slots == 2
    assert alone(total, Resources(workers=2)).slots == 1
    assert alone(total, Resources(workers=1, gpus_per_worker=0.5)).slots == 4
    assert alone(total, Resources(workers=1, max_concurrent_trials=1)).slots == 1
    assert alone({"CPU": 3.0}, Resources(workers=0)).slots == 3


def test_trials_run_on_groups_on_clusters_and_where_they_hold_a_gpu_unless_said_otherwise() -> None:
    cpus, gpus = {"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}
    assert alone(cpus, Resources()).workers == 0
    assert alone(cpus, Resources(), on_cluster=True).workers == 1
    assert alone(gpus, Resources()).workers == 1
    assert alone(gpus, Resources(gpus_per_worker=0)).workers == 0
    assert alone(gpus, Resources(workers=0), on_cluster=True).workers == 0
    assert alone(cpus, Resources(workers=2)).workers == 2


def test_trials_share_a_gpu_by_the_fraction_that_each_holds() -> None:
    shared = alone({"CPU": 16.0, "GPU": 2.0}, Resources(gpus_per_worker=0.25))
    assert (shared.slots, shared.workers, shared.gpus) == (8, 1, 0.25)
    assert resources(shared.cpus, shared.gpus) == {"CPU": 1, "GPU": 0.25}


def test_the_kinds_of_device_are_known_by_rays_names() -> None:
    total = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A10G": 2.0, "node:10.0.0.1": 1.0}
    assert alone(total, Resources(workers=1)).device_types == ("A10G",)
    assert alone(total, Resources(workers=1, gpus_per_worker=0)).device_types == ("cpu",)
    assert alone({"CPU": 1.0, "GPU": 1.0}, Resources()).device_types == ("gpu",)


def test_a_cluster_that_cannot_hold_one_trial_is_refused() -> None:
    with pytest.raises(
        StudyError, match=r"a trial asks for 4 x \(1 CPU, 0 GPU\), each on one node; the cluster has 2 CPU"
    ):
        alone({"CPU": 2.0}, Resources(workers=4))
    with pytest.raises(StudyError, match="1 GPU"):
        alone({"CPU": 2.0}, Resources(workers=1, gpus_per_worker=1))


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


def test_rays_lines_about_the_dead_are_not_among_the_studys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray._private.worker import print_to_stdstream

    def say(line: str) -> str:
        print_to_stdstream({"lines": [line], "pid": "raylet", "is_err": False}, ignore_prefix=False)
        return capsys.readouterr().out

    said: list[str] = []
    monkeypatch.setattr("ray.init", lambda **_: said.append(say("A node died while it began.")))
    monkeypatch.setattr("ray.shutdown", lambda: said.append(say("A raylet died while it ended.")))
    with session(None):
        said.append(say("A node has been marked dead."))
    assert said == ["", "", ""]
    assert "A worker died." in say("A worker died.")


def test_a_type_of_device_without_a_price_is_refused_before_anything_is_written() -> None:
    by_type = made_space(resources={"dollars_per_device_hour": {"A10": 1.2, "H100": 4.5}})
    _check_prices(by_type, ["NVIDIA A10G", "H100", "H100"])
    with pytest.raises(InputError, match="T4"):
        _check_prices(by_type, ["A10", "T4"])
    for one_price in (made_space(), made_space(resources={"dollars_per_device_hour": 1.0})):
        _check_prices(one_price, ["T4", "cpu"])
