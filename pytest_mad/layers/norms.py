"""Normalisation."""

from __future__ import annotations

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
