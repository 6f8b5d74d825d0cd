"""What every worker's process is told before it loads a library."""

from __future__ import annotations

# Of oneDNN's compiled products, one per shape, 1,024 by default: texts of all lengths leave 0.2 GB of them behind. A
# pass uses about 60, again and again.
PRODUCTS_KEPT = 128
# Library settings of every worker: no progress bars, no forks of the tokenizer's threads, less memory.
WORKER_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(PRODUCTS_KEPT),
}
