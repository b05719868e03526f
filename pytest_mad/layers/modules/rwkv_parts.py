"""What the layers of RWKV share: the token shift, low-rank maps, and the norm of the heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def previous_tokens(x_BTD: Tensor, last_BD: Tensor) -> Tensor:
    """``(B, T, D) -> (B, T, D)``: at each position the token before it, which is ``last_BD`` at the first."""
    return torch.cat([last_BD[:, None], x_BTD[:, :-1]], 1)


def blend(start_BTD: Tensor, end_BTD: Tensor, shares: Iterable[Tensor]) -> list[Tensor]:
    """For each share, ``(D,)`` or ``(B, T, D)``, one mixture ``start + share (.) (end - start)``."""
    way_BTD = end_BTD - start_BTD
    return [torch.addcmul(start_BTD, way_BTD, share) for share in shares]


def present_shares(dim: int, powers: Iterable[float]) -> Tensor:
    """``(C, D)``: for each power p, ``(i / D)^p`` in channel i, with which mixtures of present and previous start."""
    return torch.stack([(torch.arange(dim) / dim) ** power for power in powers])


class LowRank(nn.Module):
    """``activation(x W_1) W_2``, with both matrices near zero at first: what a token adds to a learned constant.

    Not at zero, where each would keep the other from learning.
    """

    def __init__(self, dim: int, rank: int, activation: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.activation = activation
        self.down_DR = nn.Parameter(near_zero(dim, rank))
        self.up_RD = nn.Parameter(near_zero(rank, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``."""
        return self.activation(x_BTD @ self.down_DR) @ self.up_RD


def near_zero(*shape: int) -> Tensor:
    """U(-1e-4, 1e-4), as all low-rank matrices of RWKV-6 start."""
    return torch.empty(shape).uniform_(-1e-4, 1e-4)


class HeadNorm(nn.GroupNorm):
    """Layer norm of each head, with a gain and a bias for every channel: ``(B, T, H, V) -> (B, T, H V)``.

    The eps is that of RWKV for heads of 64, and MAD's for heads of any width. Its RWKV-5 divides by 8 before a norm
    with eps 1e-5, which is the same: 64e-5 is 1e-5 times the square of 8.
    """

    def __init__(self, num_heads: int, dim: int, eps: float = 64e-5) -> None:
        super().__init__(num_heads, dim, eps=eps)

    def forward(self, o_BTHV: Tensor) -> Tensor:
        """``(B, T, H, V) -> (B, T, H V)``."""
        normed_BTHV = F.layer_norm(o_BTHV, o_BTHV.shape[-1:], eps=self.eps)  # faster on a CPU than by groups
        return torch.addcmul(self.bias, normed_BTHV.flatten(2), self.weight)
