"""Softmax attention by flash-attn, in CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .kernel import Kernel

WIDEST_HEAD = 256


def attention(
    module: Any,
    q_BTHK: Tensor,
    k_BSHK: Tensor,
    v_BSHV: Tensor,
    *,
    window: int | None = None,
    causal: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    """Its window counts the keys on either side besides the query's own, -1 for all; queries are the last ones too."""
    k_BSHK, v_BSHV = k_BSHK.to(q_BTHK.dtype), v_BSHV.to(q_BTHK.dtype)
    beside = -1 if window is None else window - 1
    sides = (beside, 0 if causal else beside)
    o_BTHV: Tensor = module.flash_attn_func(
        q_BTHK, k_BSHK, v_BSHV, dropout_p=dropout, causal=causal, window_size=sides if window else (-1, -1)
    )
    return o_BTHV


def _has_odd_heads(q_BTHK: Tensor, k_BSHK: Tensor, v_BSHV: Tensor, **config: Any) -> str | None:
    keys, values = q_BTHK.shape[-1], v_BSHV.shape[-1]
    if keys != values:
        return f"takes keys and values of one width, not {keys} and {values}"
    return f"takes heads of up to {WIDEST_HEAD} channels, not {keys}" if keys > WIDEST_HEAD else None


FLASH_ATTENTION = Kernel(
    name="flash_attn.flash_attn_func",
    package="flash-attn --no-build-isolation",  # it compiles against the torch that is installed
    module="flash_attn",
    run=attention,
    dtypes=(torch.bfloat16, torch.float16),
    refuses=_has_odd_heads,
)
