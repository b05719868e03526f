"""The short convolution by causal-conv1d, in CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .kernel import Kernel

TAPS = range(2, 5)
CHANNELS = 8  # a multiple of, so that it can read channel after channel


def short_convolution(
    module: Any, x_BTC: Tensor, weight_CW: Tensor, bias_C: Tensor | None, past_BPC: Tensor
) -> tuple[Tensor, Tensor]:
    """Its ``(B, C, T)`` tensors with channels next to each other in memory, as it wants them where there is a past."""
    past_BPC = past_BPC.to(x_BTC.dtype).contiguous()
    bias_C = None if bias_C is None else bias_C.to(weight_CW.dtype)
    y_BCT = module.causal_conv1d_fn(x_BTC.contiguous().mT, weight_CW, bias_C, initial_states=past_BPC.mT)
    taps = past_BPC.shape[1]
    return y_BCT.mT, torch.cat([past_BPC, x_BTC[:, -taps:]], 1)[:, -taps:].float()


def _has_odd_widths(x_BTC: Tensor, weight_CW: Tensor, *others: Tensor | None) -> str | None:
    channels, taps = weight_CW.shape
    if taps not in TAPS:
        return f"takes filters of {TAPS[0]} to {TAPS[-1]} taps, not {taps}"
    return f"takes a multiple of {CHANNELS} channels, not {channels}" if channels % CHANNELS else None


SHORT_CONVOLUTION = Kernel(
    name="causal_conv1d.causal_conv1d_fn",
    package="causal-conv1d --no-build-isolation",  # it compiles against the torch that is installed
    module="causal_conv1d",
    run=short_convolution,
    refuses=_has_odd_widths,
)
