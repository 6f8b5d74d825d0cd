"""The command called in this process: a new one takes a second to import what every verb needs."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from raggrid.cli import main

# Models whose sizes are known without their files.
LLAMA = ["--set", "models.embedder=BAAI/bge-base-en-v1.5", "--set", "models.dtype=bfloat16",
         "--set", "models.generator=meta-llama/Llama-3.1-8B-Instruct"]  # fmt: skip


class Said(NamedTuple):
    """What a terminal of 80 columns, or a pipe, would have been told."""

    returncode: int
    stdout: str
    stderr: str


def called(*words: object, cwd: Path | None = None) -> Said:
    """The command until it ends. An error that it does not expect is raised here as it is."""
    out, err, code = StringIO(), StringIO(), 0
    with ExitStack() as around:
        around.enter_context(patch.object(sys, "argv", ["raggrid", *map(str, words)]))
        around.enter_context(patch.dict(os.environ, {"COLUMNS": "80"}))
        around.enter_context(chdir(cwd or Path.cwd()))
        around.enter_context(redirect_stdout(out))
        around.enter_context(redirect_stderr(err))
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Said(code, out.getvalue(), err.getvalue())
