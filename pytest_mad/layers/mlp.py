"""Channel mixers: they see one position at a time."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.projection import projection
from pytest_mad.layers.ops.operator import Backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("mlp")
class MLP(Mixer):
    """``y = W2 gelu(W1 x)`` with the tanh form of gelu.

    Source: Vaswani et al., arXiv 1706.03762, eq. 2, with the activation of Hendrycks and Gimpel, arXiv 1606.08415.

    Args:
        dim: width D.
        max_length: longest input; a channel mixer has no use for it.
        dim_inner: inner width; None for 4 dim.
        bias: whether both projections have a bias.
        dropout: after the activation and on the output.
    """

    def __init__(
        self, dim: int, max_length: int, *, dim_inner: int | None = None, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        dim_inner = 4 * dim if dim_inner is None else dim_inner
        check_counts(dim_inner=dim_inner)
        self.up = projection(dim, dim_inner, bias)
        self.down = projection(dim_inner, dim, bias)
        self.dropout = nn.Dropout(dropout)

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        inner_BTI = F.gelu(self.up(x_BTD), approximate="tanh")
        return self.dropout(self.down(self.dropout(inner_BTI))), state


@register_layer("swiglu")
class SwiGLU(Mixer):
    """``y = W3 (silu(W1 x) (.) W2 x)``.

    Source: Shazeer, arXiv 2002.05202, eq. 6. The inner width of two thirds of 4 dim, rounded up to a multiple of 16,
    keeps the parameters of a plain MLP (352 at dim 128).

    Args:
        dim: width D.
        max_length: longest input; a channel mixer has no use for it.
        dim_inner: inner width; None for 8/3 dim, rounded up.
        bias: whether the projections have a bias.
        dropout: on the gated product and on the output.
    """

    def __init__(
        self, dim: int, max_length: int, *, dim_inner: int | None = None, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        dim_inner = 16 * -(-int(8 * dim / 3) // 16) if dim_inner is None else dim_inner
        check_counts(dim_inner=dim_inner)
        self.gate = projection(dim, dim_inner, bias)
        self.up = projection(dim, dim_inner, bias)
        self.down = projection(dim_inner, dim, bias)
        self.dropout = nn.Dropout(dropout)

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        inner_BTI = F.silu(self.gate(x_BTD)) * self.up(x_BTD)
        return self.dropout(self.down(self.dropout(inner_BTI))), state
