"""What every worker's process is told before it loads a library."""

from __future__ import annotations

# Library settings of every worker: no progress bars, no forks of the tokenizer's threads.
WORKER_SETTINGS = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
