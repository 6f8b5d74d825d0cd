"""A RAG system without training: embedder, index, generator, prompt, pipeline."""

import logging

# transformers and peft import bitsandbytes where it is installed; each import warns of a kernel that it lacks.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
