"""The application under Ray Serve, on a Ray of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from raggrid.export.ask_export import ask
from raggrid.export.write_export import write_export
from tests.conftest import SpaceMaker
from tests.exported import finished

DEPLOY = Path(__file__).parents[2] / "deploy" / "serve.yaml"
# Asks all questions at once, as many as Serve lets through; prints the answers and how many batches they took.
ASK_ALL = """
import json, socket, sys, urllib.request
from concurrent.futures import ThreadPoolExecutor
import ray
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from raggrid.serve.ray_serve import ReplicaSettings, app

folder, questions = sys.argv[1], json.load(sys.stdin)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

def get(path, body=None):
    told = json.dumps(body).encode() if body else None
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", told, {"Content-Type": "application/json"})
    return urllib.request.urlopen(asked, timeout=300).read().decode()

def answer(question):
    told = json.loads(get("/v1/chat/completions", {"messages": [{"role": "user", "content": question}]}))
    return told["choices"][0]["message"]["content"]

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
serve.run(app(ReplicaSettings(folder=folder, cpus=1)))
with ThreadPoolExecutor(len(questions)) as pool:
    answers = list(pool.map(answer, questions))
families = {family.name: family for family in text_string_to_metric_families(get("/metrics"))}
samples = {sample.name: sample.value for sample in families["raggrid_batch_questions"].samples}
print("\\n" + json.dumps({"answers": answers, "batches": samples["raggrid_batch_questions_count"]}))
serve.shutdown()
"""


@pytest.mark.slow
def test_a_replica_answers_as_ask_does_in_batches(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space(training={"generator": "lora"}, models={"dtype": "bfloat16"})
    folder = write_export(finished(tmp_path / "run", space, ("joint",)), tmp_path / "out", check=False).folder
    rows = json.loads((folder / "evaluated.json").read_text())["questions"]
    asked = [row["question"] for row in rows] * 4
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL, str(folder)], input=json.dumps(asked), capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert found["answers"] == [each.answer for each in ask(folder, asked)]
    assert found["batches"] < len(asked) / 2


def test_the_file_for_a_cluster_is_what_ray_serve_reads() -> None:
    from ray.serve.schema import ServeDeploySchema

    from raggrid.serve import ray_serve

    (told,) = ServeDeploySchema.model_validate(yaml.safe_load(DEPLOY.read_text(encoding="utf-8"))).applications
    assert told.import_path == f"{ray_serve.__name__}:{ray_serve.app.__name__}"
    assert ray_serve.ReplicaSettings.model_validate(told.args).folder == "/shared/tuned"
    with pytest.raises(ValidationError, match="replica\n"):
        ray_serve.ReplicaSettings.model_validate({"folder": "x", "replica": 2})
