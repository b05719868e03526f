"""The step sizes that Mamba and its relatives start with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST = 1e-4


def draw_dt_bias(channels: int, low: float = 1e-3, high: float = 0.1) -> Tensor:
    """``(C,)``: ``b`` such that ``softplus(b)`` is log-uniform between ``low`` and ``high``.

    Source: Gu and Dao, Mamba, arXiv 2312.00752, section 3.6; log-uniform as in its authors' code.
    """
    step_C = torch.empty(channels).uniform_(math.log(low), math.log(high)).exp().clamp(min=SMALLEST)
    return step_C + torch.log(-torch.expm1(-step_C))
