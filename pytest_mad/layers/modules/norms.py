"""Normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the last axis, with a learned gain: ``x / sqrt(mean(x^2) + eps) * weight``.

    Source: Zhang and Sennrich, arXiv 1910.07467, eq. 4; ``eps`` is the one of MAD.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim) -> (..., dim)``, computed in the gain's precision: autocast leaves this operation alone."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class GroupedRMSNorm(RMSNorm):
    """`RMSNorm` with the mean over each of ``num_groups`` groups of neighbouring channels.

    Source: the gated norm of Dao and Gu, arXiv 2405.21060, section 7.
    """

    def __init__(self, dim: int, num_groups: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)
        self.num_groups = num_groups

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim) -> (..., dim)``."""
        x_GI = x.to(self.weight.dtype).view(*x.shape[:-1], self.num_groups, -1)
        normed_GI = F.rms_norm(x_GI, x_GI.shape[-1:], eps=self.eps)
        return (normed_GI.flatten(-2) * self.weight).to(x.dtype)
