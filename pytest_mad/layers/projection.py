"""What the layers share: linear maps and heads."""

from __future__ import annotations

from torch import Tensor, nn


def projection(in_features: int, out_features: int, bias: bool = False) -> nn.Linear:
    """A linear map with PyTorch's weight initialisation and, as everywhere in MAD, a bias that starts at zero."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def count_heads(dim: int, num_heads: int | None, head_dim: int | None) -> int:
    """The number of heads of width ``dim`` from either way of giving it.

    Raises:
        ValueError: both or neither are given, or ``dim`` is not divisible.
    """
    if (num_heads is None) == (head_dim is None):
        raise ValueError(f"give exactly one of num_heads and head_dim, not num_heads={num_heads}, head_dim={head_dim}")
    key, divisor = ("num_heads", num_heads) if head_dim is None else ("head_dim", head_dim)
    if not divisor or divisor < 1 or dim % divisor:
        raise ValueError(f"dim {dim} is not divisible by {key} {divisor}")
    return divisor if head_dim is None else dim // divisor


def split_heads(x_BTC: Tensor, num_heads: int) -> Tensor:
    """``(B, T, C) -> (B, T, H, C / H)``."""
    batch, length, _ = x_BTC.shape
    return x_BTC.view(batch, length, num_heads, -1)
