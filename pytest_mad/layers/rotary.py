"""Rotary position embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Rotate the first ``rotary_dim`` channels of each head by an angle proportional to the position.

    Channel i is paired with channel i + rotary_dim/2 (half-split pairs), and the pair is turned by
    ``t * base^(-2i/rotary_dim)`` at position t. The rest of the head passes unchanged.

    Source: Su et al., RoFormer, arXiv 2104.09864, eq. 34; half-split pairs as in GPT-NeoX.

    Args:
        rotary_dim: channels that are rotated, even.
        max_length: longest input.
        num_heads: heads in the input.
        base: sets the frequencies, from 1 down to almost 1/base radians per position.
    """

    def __init__(self, rotary_dim: int, max_length: int, num_heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        if rotary_dim < 2 or rotary_dim % 2:
            raise ValueError(f"rotary_dim must be even and at least 2, not {rotary_dim}")
        self.rotary_dim = rotary_dim
        # float64 until the end: at position 1,000 a float32 angle is already off by 1e-4
        frequency = base ** (-torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim)
        angle = torch.arange(max_length, dtype=torch.float64)[:, None, None] * frequency
        # One copy per head: on a CPU, broadcasting over heads of 8 channels makes the rotation 1.5 times slower
        tables = [torch.cat([angle.cos()] * 2, -1), torch.cat([-angle.sin(), angle.sin()], -1)]
        cos_THR, sin_THR = (table.float().repeat(1, num_heads, 1) for table in tables)
        self.cos_THR: Tensor
        self.sin_THR: Tensor
        self.register_buffer("cos_THR", cos_THR, persistent=False)
        self.register_buffer("sin_THR", sin_THR, persistent=False)

    def forward(self, x_BTHK: Tensor, position: int = 0) -> Tensor:
        """``(B, T, H, K) -> (B, T, H, K)``, the first of them at ``position``."""
        rotated = self._rotate(x_BTHK[..., : self.rotary_dim], position)
        if self.rotary_dim == x_BTHK.shape[-1]:
            return rotated
        return torch.cat([rotated, x_BTHK[..., self.rotary_dim :]], -1)

    def _rotate(self, x_BTHR: Tensor, position: int) -> Tensor:
        here, dtype = slice(position, position + x_BTHR.shape[1]), x_BTHR.dtype
        cos_THR, sin_THR = self.cos_THR[here].to(dtype), self.sin_THR[here].to(dtype)
        # rolling by half swaps the channels of every pair in one copy; the sign of the sine sits in the table
        return torch.addcmul(x_BTHR * cos_THR, x_BTHR.roll(self.rotary_dim // 2, -1), sin_THR)
