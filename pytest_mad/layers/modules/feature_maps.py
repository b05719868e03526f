"""Feature maps of linear attention, ``(..., K) -> (..., F)``: ``phi(q) . phi(k)`` stands in for ``exp(q . k)``.

Every map is a module built as ``FeatureMap(head_dim, compat)`` with an attribute ``feature_dim`` (F).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .projection import projection


class FeatureMap(nn.Module):
    """Base of all maps.

    Args:
        head_dim: key width K.
        compat: MAD-Lab's behaviour where it differs from what the map's name promises.
    """

    feature_dim: int
    #: whether no feature is negative, so that the normaliser does not vanish between them
    is_positive = True

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__()
        self.feature_dim = head_dim


MapT = TypeVar("MapT", bound=type[FeatureMap])
FEATURE_MAPS: dict[str, type[FeatureMap]] = {}


def build_feature_map(name: str, head_dim: int, compat: bool = False) -> FeatureMap:
    """Build map ``name`` for keys of width ``head_dim``.

    Raises:
        ValueError: no map has this name.
    """
    if name not in FEATURE_MAPS:
        nearest = difflib.get_close_matches(name, FEATURE_MAPS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"the maps are {', '.join(sorted(FEATURE_MAPS))}"
        raise ValueError(f"unknown feature_map {name!r}: {hint}")
    return FEATURE_MAPS[name](head_dim, compat)


def _register(name: str) -> Callable[[MapT], MapT]:
    def register(feature_map: MapT) -> MapT:
        FEATURE_MAPS[name] = feature_map
        return feature_map

    return register


@_register("elu")
class Elu(FeatureMap):
    """``elu(x) + 1``, positive. Source: Katharopoulos et al., arXiv 2006.16236, eq. 7."""

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x) + 1


@_register("relu")
class Relu(FeatureMap):
    """``relu(x)``; all features, and with them the normaliser, can be zero."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


@_register("identity")
class Identity(FeatureMap):
    """``x``; the normaliser may have any sign."""

    is_positive = False

    def forward(self, x: Tensor) -> Tensor:
        return x


@_register("t2r")
class TransformerToRNN(FeatureMap):
    """``relu(W x + b)``. Source: Kasai et al., arXiv 2103.13076."""

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__(head_dim)
        self.linear = projection(head_dim, head_dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


@_register("elementwise_product")
class ElementwiseProduct(FeatureMap):
    """``(W1 x + b1) (.) (W2 x + b2)``: MAD's default. Not positive, so the normaliser can come close to zero."""

    is_positive = False

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__(head_dim)
        self.left = projection(head_dim, head_dim, bias=True)
        self.right = projection(head_dim, head_dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = self.left(x) * self.right(x)
        return product


@_register("hedgehog")
class Hedgehog(FeatureMap):
    """``softmax over [2 (W x + b), -2 (W x + b)]`` with W the identity and b zero at first: positive, with sum 1.

    Source: Zhang et al., The Hedgehog and the Porcupine, arXiv 2402.04347, section 4; the factor 2 is MAD-Lab's.
    """

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__(head_dim)
        self.feature_dim = 2 * head_dim
        self.linear = projection(head_dim, head_dim, bias=True)
        nn.init.eye_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * self.linear(x)
        return torch.cat([x, -x], -1).softmax(-1)


@_register("dpfp")
class DPFP(FeatureMap):
    """With ``r = [relu(x), relu(-x)]``: the products ``r (.) roll(r, i)`` for i = 1..nu, positive.

    Source: Schlag et al., Linear Transformers Are Secretly Fast Weight Programmers, arXiv 2102.11174, section 5.4.

    ``compat``: MAD-Lab's second half is ``-relu(x)``, so negative inputs are lost and features can be negative.
    """

    nu = 4

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__(head_dim)
        self.feature_dim = 2 * head_dim * self.nu
        self.compat = compat
        self.is_positive = not compat

    def forward(self, x: Tensor) -> Tensor:
        second = -F.relu(x) if self.compat else F.relu(-x)
        r = torch.cat([F.relu(x), second], -1)
        return torch.cat([r * r.roll(shift, -1) for shift in range(1, self.nu + 1)], -1)


@_register("taylor")
class Taylor(FeatureMap):
    """Second-order Taylor series of the softmax: ``phi(q) . phi(k) = 1 + s + s^2 / 2`` with ``s = q . k / sqrt(K)``.

    Source: Arora et al., Simple linear attention language models (Based), arXiv 2402.18668, section 4.1. The products
    x_i x_j and x_j x_i are kept as one feature with twice the weight: F = 1 + K + K (K + 1) / 2.
    """

    def __init__(self, head_dim: int, compat: bool = False) -> None:
        super().__init__(head_dim)
        self.feature_dim = 1 + head_dim + head_dim * (head_dim + 1) // 2
        row, column = torch.triu_indices(head_dim, head_dim)
        weight = torch.where(row == column, math.sqrt(0.5), 1.0) / math.sqrt(head_dim)
        self.first_order = head_dim**-0.25
        self.row: Tensor
        self.column: Tensor
        self.weight: Tensor
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        second_order = x[..., self.row] * x[..., self.column] * self.weight.to(x.dtype)
        return torch.cat([torch.ones_like(x[..., :1]), x * self.first_order, second_order], -1)
