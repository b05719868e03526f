"""Two implementations of one function: are their values and gradients the same?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-5  # as a part of the largest number in a tensor, or of 1


def assert_same(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *inputs: Tensor,
    tolerance: float = TOLERANCE,
    gradient_tolerance: float | None = None,
) -> None:
    """Both functions take ``inputs`` and return a tensor, or tuples of tensors; None is a tensor not to compare."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    # each gets copies: some kernels write to their inputs
    pairs = list(zip(*(_flat(side(*(leaf.clone() for leaf in leaves))) for side in (ours, theirs)), strict=True))
    pairs = [(our, their) for our, their in pairs if their is not None]
    _assert_close("value", *zip(*pairs, strict=True), tolerance)
    weights = [_noise(their) for _, their in pairs]
    gradients = [
        torch.autograd.grad(
            sum((y * w).sum() for y, w in zip(side, weights, strict=True)), leaves, materialize_grads=True
        )
        for side in zip(*pairs, strict=True)
    ]
    _assert_close("gradient", *gradients, gradient_tolerance or tolerance)


def _flat(result: Any) -> list[Tensor | None]:
    return [x for part in result for x in _flat(part)] if isinstance(result, (tuple, list)) else [result]


def _noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(like.numel()))


def _assert_close(what: str, ours: Iterable[Tensor], theirs: Iterable[Tensor], tolerance: float) -> None:
    for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        assert our.shape == their.shape, f"{what} {i}: shape {our.shape}, not {their.shape}"
        error = _largest(our - their)
        assert error <= tolerance * max(1.0, _largest(their)), f"{what} {i} is off by {error}"


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().max()) if x.numel() else 0.0
