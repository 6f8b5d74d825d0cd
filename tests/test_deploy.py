"""The cluster files: against Ray's own schema, against Ray's own commands, and against a list of KubeRay's fields."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster.yaml"
SLURM = ROOT / "deploy" / "raggrid.sbatch"
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
RAY = re.findall(r"^ray==(\S+)$", CONSTRAINTS, flags=re.MULTILINE)[0]

# From KubeRay's generated API reference (docs/reference/api.md of ray-project/kuberay at v1.4, read by hand;
# authOptions came with v1.5.1). The schema itself, a megabyte, is part of no Python package.
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector",
    "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode",
    "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations", "enableInTreeAutoscaling", "authOptions",
    "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs",
}  # fmt: skip
AUTOSCALER = {
    "resources", "image", "imagePullPolicy", "securityContext", "idleTimeoutSeconds", "upscalingMode", "version", "env",
    "envFrom", "volumeMounts",
}  # fmt: skip
HEAD = {"template", "headService", "enableIngress", "rayStartParams", "serviceType"}
WORKERS = {
    "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams",
    "template", "scaleStrategy", "numOfHosts",
}  # fmt: skip
NUMBERS = ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")


def cluster() -> Any:
    return yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))


def test_cluster_yaml_is_valid_for_ray() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = cluster()
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="Additional properties"):
        validate_config({**config, "no_such_key": 1})


def test_every_node_of_cluster_yaml_has_a_pinned_image_with_the_rays_version_of_the_constraints() -> None:
    config = cluster()
    assert config["docker"]["head_image"] == f"rayproject/ray:{RAY}-py311-cpu"
    assert config["docker"]["worker_image"] == f"rayproject/ray:{RAY}-py311-gpu"
    types = config["available_node_types"]
    assert all(node["node_config"]["ImageId"] for node in types.values())
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    (workers,) = [node for name, node in types.items() if name != config["head_node_type"]]
    assert workers["resources"]["GPU"] >= 1
    assert workers["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert any("pip install" in line and "constraints.txt" in line for line in config["setup_commands"])


def test_cluster_yaml_asks_for_a_token_and_shows_its_dashboard_to_nobody() -> None:
    config = cluster()
    starts = [config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]]
    assert all(line.startswith("RAY_AUTH_MODE=token ray start ") for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "disabled" not in CLUSTER.read_text(encoding="utf-8")


def test_preemption_is_watched_and_measured_on_clusters_alone() -> None:
    from raggrid.backend.ray.cluster import ALONE, QUIET

    watching = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "RAY_TRAIN_METRICS_ENABLED"}
    assert ALONE.keys() == watching
    assert not QUIET.keys() & watching


def test_the_ray_job_has_known_fields_alone_and_survives_its_head() -> None:
    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, inner = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec.keys() <= RAY_JOB
    assert inner.keys() <= RAY_CLUSTER
    assert inner["autoscalerOptions"].keys() <= AUTOSCALER
    assert inner["headGroupSpec"].keys() <= HEAD
    assert all(group.keys() <= WORKERS for group in inner["workerGroupSpecs"])
    assert all(isinstance(spec[name], int) for name in NUMBERS)
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode")
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert inner["authOptions"] == {"mode": "token"}
    assert inner["rayVersion"] == RAY
    assert inner["enableInTreeAutoscaling"] is True
    params = [
        inner["headGroupSpec"]["rayStartParams"],
        *(group["rayStartParams"] for group in inner["workerGroupSpecs"]),
    ]
    assert all(isinstance(value, str) for each in params for value in each.values())


def test_the_pods_of_the_ray_job_mount_only_volumes_that_they_have() -> None:
    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8"))
    inner = job["spec"]["rayClusterSpec"]
    for group in (inner["headGroupSpec"], *inner["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["image"] == "<IMAGE>"


def test_the_slurm_script_is_sound_and_its_command_is_rays() -> None:
    done = subprocess.run(["bash", "-n", str(SLURM)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", str(SLURM)], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout) == (0, "")
    from ray.scripts.scripts import cli

    assert "symmetric-run" in cli.commands
    options = {name for option in cli.commands["symmetric-run"].params for name in option.opts}
    start = {name for option in cli.commands["start"].params for name in option.opts}
    command = SLURM.read_text(encoding="utf-8").partition("ray symmetric-run")[2].partition(" -- ")[0]
    assert set(re.findall(r"--[a-z-]+", command)) <= options | start


def test_the_slurm_script_runs_the_study_on_all_nodes(tmp_path: Path) -> None:
    """With stand-ins for Slurm's and Ray's commands that print what they were told."""
    for name, prints in {"scontrol": "n1\nn2", "srun": '"$@"'}.items():
        body = f"echo srun {prints}\n" if name == "srun" else f"printf '{prints}'\n"
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2", "SLURM_CPUS_ON_NODE": "16", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", str(SLURM), "my.yaml", "/shared/run", "--device-hours", "5"],
        env={"PATH": f"{tmp_path}:{Path(shutil.which('python3') or '/usr/bin/python3').parent}:/usr/bin:/bin", **slurm},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ray symmetric-run --address n1:20007 --min-nodes 2 --num-cpus=16 --num-gpus=0" in done.stdout
    ending = "-- raggrid search my.yaml --run /shared/run --address auto --device-hours 5\n"
    assert done.stdout.endswith(ending)


def test_the_image_is_built_from_rays_with_the_constraints() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert f"FROM rayproject/ray:{RAY}-py311-${{PLATFORM}}" in lines
    assert any(line.startswith("RUN pip install") and "constraints.txt" in line for line in lines)
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
