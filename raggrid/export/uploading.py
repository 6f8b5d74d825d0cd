"""An exported folder -> a model repository on the hub: the one owner of huggingface_hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raggrid.errors import InputError, RecordError, StudyError

LEFT_OUT = ("__pycache__/*", "**/__pycache__/*", ".*")


def push_export(
    folder: Path | str,
    repository: str,
    *,
    public: bool = False,
    endpoint: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Upload an exported pipeline, all files in one commit, and return its address.

    The passages and the evaluated questions are uploaded too. The token is the one that ``hf auth login`` keeps, or
    $HF_TOKEN.

    Args:
        folder: of `raggrid export`.
        repository: ``OWNER/NAME``; made if it does not exist.
        public: everybody may see it. Without it, a repository that is public already is refused.
        endpoint: of the hub; by default huggingface.co, or $HF_ENDPOINT.
        say: called with each sentence that a person should see.

    Raises:
        RecordError: the folder was not written by `raggrid export`.
        InputError: the repository's name is wrong, or it is public and ``public`` is not given.
        StudyError: the hub refused, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    place = Path(folder)
    if not (place / "pipeline.json").is_file():
        raise RecordError(
            f"{place}: not an exported pipeline (it has no pipeline.json). Give the -o of raggrid export."
        )
    if not (place / "parity.json").is_file():
        say("Warning: parity was not checked; the model card says so.")
    api = HfApi(endpoint=endpoint)
    try:
        made = api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.model_info(repository, expand=["private"]).private:
            raise InputError(f"repository: got {repository}, which is public; expected a private one. Give --public.")
        say(f"Uploading {place} to {made.repo_id}, {'public' if public else 'private'}.")
        api.upload_folder(
            folder_path=str(place), repo_id=repository, commit_message="Upload a raggrid export",
            ignore_patterns=list(LEFT_OUT),
        )  # fmt: skip
    except HFValidationError as error:
        raise InputError(f"repository: got '{repository}'; expected OWNER/NAME. {error}") from error
    except OfflineModeIsEnabled as error:
        raise StudyError("push: HF_HUB_OFFLINE is set; expected access to the hub. Unset it.") from error
    except (HfHubHTTPError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise StudyError(f"push: {repository} was not uploaded: {why}. Log in with 'hf auth login'.") from error
    return str(made)
