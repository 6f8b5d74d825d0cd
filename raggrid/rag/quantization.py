"""Frozen weights in 4 bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314), through bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch

from raggrid.rag.precision import check_quantization
from raggrid.space.settings import Models


def quantized(models: Models, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The arguments of ``from_pretrained`` that keep linear layers in NF4 with double quantization; none if not wanted.

    Embeddings, norms and the output stay in ``dtype``, in which products are computed too.
    """
    if models.quantization == "none":
        return {}
    check_quantization(models)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_layout(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking frozen weights at their first use on a CPU, in place.

    A module that does not count as training, as all do here since dropout is off, would be repacked for inference, for
    good, in the middle of a training step.
    """
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            setattr(part, "support_avx512bf16_for_cpu", False)  # noqa: B010  # no attribute of every module
