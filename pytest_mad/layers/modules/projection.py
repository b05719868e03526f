"""What the layers share: linear maps and heads."""

from __future__ import annotations

from torch import Tensor, nn

from .checks import check_counts, check_positive


def projection(in_features: int, out_features: int, bias: bool = False) -> nn.Linear:
    """A linear map with PyTorch's weight initialisation and, as everywhere in MAD, a bias that starts at zero."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def count_heads(dim: int, num_heads: int | None, head_dim: int | None, name: str = "dim") -> int:
    """The number of heads of width ``dim`` from either way of giving it; ``name`` is what the message calls ``dim``.

    Raises:
        ValueError: both or neither are given, one is no whole number, or ``dim`` is not divisible.
    """
    if (num_heads is None) == (head_dim is None):
        raise ValueError(f"give exactly one of num_heads and head_dim, not num_heads={num_heads}, head_dim={head_dim}")
    key, divisor = ("num_heads", num_heads or 0) if head_dim is None else ("head_dim", head_dim)
    check_counts(**{key: divisor})
    if dim % divisor:
        raise ValueError(f"{name} {dim} is not divisible by {key} {divisor}")
    return divisor if head_dim is None else dim // divisor


def expanded(dim: int, num_heads: int, **factor: float) -> int:
    """``dim`` times the one factor given by its name, to be divided among the heads.

    Raises:
        ValueError: the factor is not positive, or the heads do not divide the product.
    """
    ((name, value),) = factor.items()
    check_positive(**factor)
    width = round(dim * value)
    if width < 1:
        raise ValueError(f"{name} * dim must be at least 1, not {value} * {dim}")
    count_heads(width, num_heads, None, name=f"{name} * dim =")
    return width


def split_heads(x_BTC: Tensor, num_heads: int) -> Tensor:
    """``(B, T, C) -> (B, T, H, C / H)``."""
    batch, length, _ = x_BTC.shape
    return x_BTC.view(batch, length, num_heads, -1)
