"""The router of a mixture of experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Router(nn.Linear):
    """Scores of the experts, and from them their weights: the softmax over the best scores, the others get none.

    Source: Shazeer et al., arXiv 1701.06538, eq. 3-5.

    Args:
        dim: width D.
        num_experts: E.
        active_experts: experts with a weight other than zero at one position.
        compat: MAD-Lab's router, which sets the other scores to 0 instead of minus infinity, so all experts are active.
    """

    def __init__(self, dim: int, num_experts: int, active_experts: int, *, compat: bool = False) -> None:
        if not 1 <= active_experts <= num_experts:
            raise ValueError(f"active_experts must be from 1 to num_experts {num_experts}, not {active_experts}")
        super().__init__(dim, num_experts)
        nn.init.zeros_(self.bias)
        self.active_experts = active_experts
        self.rest = 0.0 if compat else float("-inf")

    def weights(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, E)``: the weight of each expert at each position."""
        scores_BTE: Tensor = self(x_BTD)
        best = scores_BTE.topk(self.active_experts, dim=-1)
        return torch.full_like(scores_BTE, self.rest).scatter(-1, best.indices, best.values).softmax(-1)
