"""The application under Ray Serve: ``serve run raggrid.serve.ray_serve:app folder=/shared/tuned``."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, Field
from ray import serve

from raggrid.serve.application import application
from raggrid.serve.limits import Limits
from raggrid.worker.process import WORKER_SETTINGS


class ReplicaSettings(BaseModel, extra="forbid"):
    """What `app` is told: ``name=value`` behind ``serve run``, or ``args`` in a file for ``serve deploy``."""

    folder: str
    """Of `raggrid export`, at the same path on every node."""
    replicas: int = Field(default=1, ge=1)
    """Servers that share the questions, each with models of its own."""
    cpus: float = Field(default=2, gt=0)
    """Cores of a replica."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a replica; with none it answers on its cores."""
    max_batch: int | None = Field(default=None, ge=1)
    """Questions answered at once; by default as many as in the evaluation."""


def app(told: ReplicaSettings) -> serve.Application:
    """The application that Ray Serve runs: the routes, limits and answers of `raggrid serve`."""

    def build() -> FastAPI:
        return application(told.folder, max_batch=told.max_batch, hosts=("*",))

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="pipeline",
        num_replicas=told.replicas,
        max_ongoing_requests=Limits().max_waiting,  # Serve's default, 5, would be the largest batch
        ray_actor_options={
            "num_cpus": told.cpus, "num_gpus": told.gpus, "runtime_env": {"env_vars": dict(WORKER_SETTINGS)},
        },
    )  # fmt: skip
    return deployment.bind()
