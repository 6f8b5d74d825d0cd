"""Studies as jobs of a cluster: submitted from outside to Ray's job server, followed, listed, stopped."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raggrid.backend.ray.job_server import RUNNING, connect, followed, short, status_of
from raggrid.backend.ray.package import packed, variables
from raggrid.errors import RecordError, StudyError
from raggrid.space.yaml_io import load_space
from raggrid.store.files import ADDRESS, files_at

RUN, VERSION = "raggrid_run", "raggrid_version"
SUCCEEDED, STOPPED = "succeeded", "stopped"
STOP_SECONDS = 120  # for a study to end by itself, before Ray kills it; Ray's default is 3
POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """One submitted study.

    ``status`` is pending, running, succeeded, failed or stopped. Times are seconds since the epoch, by the cluster's
    clock. ``exit_code`` is that of ``raggrid search`` there; None while it runs, or where it was killed.
    """

    name: str
    run: str
    status: str
    message: str
    began_at: float | None
    ended_at: float | None
    exit_code: int | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status not in RUNNING

    @property
    def shell_code(self) -> int:
        """What a shell should see of an ended job: the study's own exit code, 130 for a stopped one."""
        if self.status == STOPPED:
            return 130
        return 0 if self.status == SUCCEEDED else self.exit_code or 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def submit(
    space: Path | str,
    run: str,
    *,
    address: str,
    overrides: Sequence[str] = (),
    extend: bool = False,
    environment: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Job:
    """Hand a study to a cluster, which runs it whether or not this machine stays connected.

    The space is sent with the data, models and metrics that lie here, as far as they are small.

    Args:
        space: its file.
        run: an absolute path that all nodes share, or an address such as ``s3://BUCKET/FOLDER``.
        address: of the job server, ``http://HEAD:8265``.
        overrides: of settings, ``KEY=VALUE``.
        extend: as of `raggrid.search`.
        environment: variables for the study, ``NAME=VALUE`` or ``NAME``; secrets are refused.
        say: called with a sentence that a person should see.

    Raises:
        InputError: a wrong space, wrong data, a wrong address, or a secret.
        RecordError: ``run`` means nothing on another machine, or a study is running there already.
        StudyError: no job server answers, or it refuses the job.
    """
    checked, sent = load_space(space, overrides), variables(environment)
    run = _shared(run)
    client = connect(address)
    _refuse_second(client, run, address)
    with packed(Path(space), checked, say) as package:
        settings = [word for text in [*overrides, *package.overrides] for word in ("--set", text)]
        words = ["raggrid", "search", Path(space).name, "--run", run, "--address", "auto", *settings]
        name = _name(client, run)
        try:
            client.submit_job(
                entrypoint=shlex.join([*words, *(["--extend"] if extend else [])]),
                submission_id=name,
                runtime_env={
                    "working_dir": str(package.folder),
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **sent},
                },
                metadata={RUN: run, VERSION: version("raggrid")},
            )
        except (RuntimeError, ValueError) as error:
            _refuse_second(client, run, address)  # another submit may have been quicker
            raise StudyError(f"--address {address}: the job was refused: {short(error)}") from None
    return find_job(address, name)


def jobs(address: str) -> list[Job]:
    """The studies that were submitted to a cluster, oldest first. Raises as `submit` does."""
    return _jobs(connect(address))


def find_job(address: str, which: str | None = None) -> Job:
    """One of them: by its name, or the last of a run directory; without either, the last that runs, or that ran.

    Raises:
        RecordError: there is none.
    """
    return _find(connect(address), which, address)


def job_logs(address: str, which: str | None = None, *, follow: bool = False) -> Iterator[str]:
    """What a study has printed, in pieces; with ``follow`` until it ends. Raises as `find_job`."""
    client = connect(address)
    name = _find(client, which, address).name
    return followed(client, name, address) if follow else iter([client.get_job_logs(name)])


def wait_for_job(address: str, which: str | None = None, *, seconds: float | None = None) -> Job:
    """The job once it has ended, or as it is after ``seconds``."""
    client, deadline = connect(address), None if seconds is None else time.monotonic() + seconds
    name = _find(client, which, address).name
    while not (job := _find(client, name, address)).is_over:
        if deadline and time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return job


def stop_job(address: str, which: str | None = None) -> Job:
    """Ask a study to end, as Ctrl-C does, and wait until it has; all that it finished is kept. Raises as `find_job`."""
    client = connect(address)
    job = _find(client, which, address)
    if not job.is_over:
        client.stop_job(job.name)
        job = wait_for_job(address, job.name, seconds=STOP_SECONDS + 30)
    return job


def _jobs(client: Any) -> list[Job]:
    found = [job for job in client.list_jobs() if job.submission_id and RUN in (job.metadata or {})]
    return [_job(each) for each in sorted(found, key=lambda job: job.start_time or 0)]


def _job(found: Any) -> Job:
    return Job(
        name=found.submission_id,
        run=found.metadata[RUN],
        status=status_of(found),
        message=" ".join((found.message or "").split()),
        began_at=found.start_time / 1000 if found.start_time else None,
        ended_at=found.end_time / 1000 if found.end_time else None,
        exit_code=found.driver_exit_code,
    )


def _find(client: Any, which: str | None, address: str) -> Job:
    known = _jobs(client)
    wanted = _normal(which) if which else None
    fitting = [job for job in known if wanted is None or wanted in (job.name, job.run)]
    if not fitting:
        names = ", ".join(job.name for job in known) or "none"
        raise RecordError(
            f"--address {address}: got {which or 'no job'}; expected a job or its run directory. "
            f"Submitted here: {names}."
        )
    return next((job for job in reversed(fitting) if not job.is_over), fitting[-1])


def _refuse_second(client: Any, run: str, address: str) -> None:
    for job in _jobs(client):
        if job.run == run and not job.is_over:
            raise RecordError(
                f"{run}: a study is running there already: {job.name}, {job.status}. Follow it with "
                f"'raggrid logs {job.name} --address {address} --follow', or end it with "
                f"'raggrid stop {job.name} --address {address}'."
            )


def _name(client: Any, run: str) -> str:
    """A name that two simultaneous submits of one run directory share, so that the server refuses the second."""
    earlier = sum(job.run == run for job in _jobs(client))
    word = re.sub(r"[^A-Za-z0-9]+", "-", run.rpartition("/")[2]).strip("-") or "study"
    return f"{word[:40]}-{hashlib.sha256(run.encode()).hexdigest()[:6]}-{earlier + 1}"


def _shared(run: str) -> str:
    """A run directory as the cluster knows it."""
    run = _normal(run)
    if not ADDRESS.fullmatch(run) and not Path(run).is_absolute():
        raise RecordError(
            f"--run {run}: got a path that depends on this machine's folder; expected an address such as "
            "s3://BUCKET/FOLDER, or an absolute path that all nodes share. Give one."
        )
    return files_at(run).address if ADDRESS.fullmatch(run) else run


def _normal(run: str) -> str:
    return run.rstrip("/") or run
