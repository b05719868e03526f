"""Two layers with the same weights: do they compute the same, and learn the same?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.packages.comparing import TOLERANCE, assert_same

Weights = dict[str, Tensor]
# Of each of our weights: what they call it, or what they call the parts that ours has one above the other, or a function
Names = dict[str, str | tuple[str, ...] | Callable[[Weights], Tensor]]


def assert_twins(
    ours: nn.Module, theirs: nn.Module, names: Names, x_BTD: Tensor, tolerance: float = TOLERANCE, **config: Any
) -> None:
    """Values, and gradients of the input and of all of their weights, of which ours are made."""
    _shake(theirs)
    their_names, their_weights = zip(*theirs.named_parameters(), strict=True)
    our_shapes = {name: weight.shape for name, weight in ours.named_parameters()}
    assert our_shapes.keys() == names.keys(), f"not in both: {our_shapes.keys() ^ names.keys()}"

    def run_ours(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(their_names, weights, strict=True))
        translated = {ours: _translate(theirs, named).reshape(our_shapes[ours]) for ours, theirs in names.items()}
        return functional_call(ours, translated, (x,))

    def run_theirs(x: Tensor, *weights: Tensor) -> Tensor:
        y = functional_call(theirs, dict(zip(their_names, weights, strict=True)), (x,), config)
        return y[0] if isinstance(y, tuple) else y

    # The gradient of a weight is a sum over all tokens of numbers that may be much larger than it
    assert_same(run_ours, run_theirs, x_BTD, *their_weights, tolerance=tolerance, gradient_tolerance=10 * tolerance)


@torch.no_grad()
def _shake(module: nn.Module) -> None:
    """A weight that starts at zero or one could hide much."""
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)


def _translate(theirs: str | tuple[str, ...] | Callable[[Weights], Tensor], weights: Weights) -> Tensor:
    if callable(theirs):
        return theirs(weights)
    return torch.cat([weights[name] for name in ((theirs,) if isinstance(theirs, str) else theirs)])
