"""Rotary position embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BASE = 10_000.0  # sets the frequencies, from 1 down to almost 1/BASE radians per position


class Rotary(nn.Module):
    """Rotate the first ``rotary_dim`` channels of each head by an angle proportional to the position.

    Channel i is paired with channel i + rotary_dim/2 (half-split pairs), and the pair is turned by
    ``t * BASE^(-2i/rotary_dim)`` at position t. The rest of the head passes unchanged.

    Source: Su et al., RoFormer, arXiv 2104.09864, eq. 34; half-split pairs as in GPT-NeoX.

    Args:
        rotary_dim: channels that are rotated, even.
        max_length: longest input.
        num_heads: heads in the input.
    """

    def __init__(self, rotary_dim: int, max_length: int, num_heads: int) -> None:
        super().__init__()
        if rotary_dim < 2 or rotary_dim % 2:
            raise ValueError(f"rotary_dim must be even and at least 2, not {rotary_dim}")
        self.rotary_dim = rotary_dim
        # One copy per head: on a CPU, broadcasting over heads of 8 channels makes the rotation 1.5 times slower
        tables = angle_tables(torch.arange(max_length), rotary_dim)
        cos_THR, sin_THR = (table.float().repeat(1, num_heads, 1) for table in tables)
        self.cos_THR: Tensor
        self.sin_THR: Tensor
        self.register_buffer("cos_THR", cos_THR, persistent=False)
        self.register_buffer("sin_THR", sin_THR, persistent=False)

    def forward(self, x_BTHK: Tensor, position: int = 0) -> Tensor:
        """``(B, T, H, K) -> (B, T, H, K)``, the first of them at ``position``."""
        here, dtype = slice(position, position + x_BTHK.shape[1]), x_BTHK.dtype
        cos_THR, sin_THR = self.cos_THR[here].to(dtype), self.sin_THR[here].to(dtype)
        rotated = rotate(x_BTHK[..., : self.rotary_dim], cos_THR, sin_THR)
        if self.rotary_dim == x_BTHK.shape[-1]:
            return rotated
        return torch.cat([rotated, x_BTHK[..., self.rotary_dim :]], -1)


def angle_tables(position_T: Tensor, rotary_dim: int) -> tuple[Tensor, Tensor]:
    """``(T, 1, rotary_dim)`` each: cosines, and sines with their signs, as `rotate` takes them.

    In float64, for at position 1,000 a float32 angle is already off by 1e-4.
    """
    channel = torch.arange(0, rotary_dim, 2, dtype=torch.float64, device=position_T.device)
    angle = position_T.double()[:, None, None] * BASE ** (-channel / rotary_dim)
    return torch.cat([angle.cos()] * 2, -1), torch.cat([-angle.sin(), angle.sin()], -1)


def rotate(x_BTHR: Tensor, cos_THR: Tensor, sin_THR: Tensor) -> Tensor:
    """``(B, T, H, R) -> (B, T, H, R)``: every pair of channels turned by its angle."""
    # rolling by half swaps the channels of every pair in one copy; the sign of the sine sits in the table
    return torch.addcmul(x_BTHR * cos_THR, x_BTHR.roll(x_BTHR.shape[-1] // 2, -1), sin_THR)
