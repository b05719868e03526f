"""Mixture of experts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.projection import projection
from pytest_mad.layers.modules.router import Router
from pytest_mad.layers.ops.operator import Backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("moe-mlp", dim_inner=16, num_experts=8, active_experts=2)
class MoeMLP(Mixer):
    """``y = sum_e p_e z_e`` with ``z = W_d (W_1 x (.) gelu(W_2 x))``, p the softmax over the router's best scores.

    As in MAD-Lab, ``W_d`` reads the inner channels of all experts: the router weighs outputs, it saves no computation.
    (Sparse routing: Shazeer et al., arXiv 1701.06538, eq. 3-5; the layer: MAD, arXiv 2403.17844.)

    Args:
        dim: width D.
        max_length: longest input; a channel mixer has no use for it.
        dim_inner: inner width of one expert.
        num_experts: E.
        active_experts: experts with a weight other than zero at one position.
        bias: whether the projections have a bias; the router always has.
        dropout: on each of the two inner factors and on the experts' outputs.
        compat: MAD-Lab's router, which sets the other scores to 0 instead of minus infinity, so all experts are active.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        dim_inner: int = 16,
        num_experts: int = 8,
        active_experts: int = 2,
        bias: bool = False,
        dropout: float = 0.0,
        compat: bool = False,
    ) -> None:
        super().__init__()
        check_counts(dim_inner=dim_inner, num_experts=num_experts)
        self.num_experts = num_experts
        self.up = projection(dim, dim_inner * num_experts, bias)
        self.gate = projection(dim, dim_inner * num_experts, bias)
        self.down = projection(dim_inner * num_experts, dim * num_experts, bias)
        self.router = Router(dim, num_experts, active_experts, compat=compat)
        self.dropout = nn.Dropout(dropout)

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        inner_BTI = self.dropout(self.up(x_BTD)) * self.dropout(F.gelu(self.gate(x_BTD), approximate="tanh"))
        z_BTDE = self.dropout(self.down(inner_BTI)).unflatten(2, (-1, self.num_experts))
        return (z_BTDE @ self.route(x_BTD).unsqueeze(-1)).squeeze(-1), state

    def route(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, E)``: the weight of each expert at each position."""
        return self.router.weights(x_BTD)
