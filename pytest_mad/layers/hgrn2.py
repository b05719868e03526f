"""HGRN2: a gated recurrence with a state that is an outer product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.modules.projection import count_heads, projection, split_heads
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("hgrn2", head_dim=16)
class HGRN2(Mixer):
    """``S_t = diag(f_t) S_{t-1} + (1 - f_t)^T i_t`` and ``y_t = W_o norm(q_t S_t / sqrt(K))``.

    What is forgotten makes room for what is written: there is no key but ``1 - f_t``, with
    ``f_t = b + (1 - b) sigmoid(W_f x_t)`` and ``q_t = silu(W_q x_t)``.

    Source: Qin et al., HGRN2, arXiv 2404.07904.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``. The paper's state expansion is ``head_dim``.
        lower_bound: b, the least that is kept; the paper learns one that grows from layer to layer, from 0.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        lower_bound: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if not 0 <= lower_bound < 1:
            raise ValueError(f"lower_bound must be at least 0 and below 1, not {lower_bound}")
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.lower_bound = lower_bound
        self.backend = check_backend(backend)
        self.q = projection(dim, dim)
        self.forget = projection(dim, dim)
        self.input = projection(dim, dim)
        self.norm = RMSNorm(dim)
        self.out = projection(dim, dim)

    def init_state(self, batch: int) -> State:
        width = self.out.in_features // self.num_heads
        return {"S": self._zeros(batch, self.num_heads, width, width)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        q_BTHK, forget_BTHK, i_BTHV = (
            split_heads(part(x_BTD), self.num_heads) for part in (self.q, self.forget, self.input)
        )
        k_BTHK = (1 - self.lower_bound) * torch.sigmoid(-forget_BTHK)
        # log(1 - k), without the rounding of 1 - k where little is forgotten
        g_BTHK = F.logsigmoid(forget_BTHK) if self.lower_bound == 0 else torch.log1p(-k_BTHK)
        q_BTHK = F.silu(q_BTHK) * q_BTHK.shape[-1] ** -0.5
        o_BTHV, S_BHKV = gla(q_BTHK, k_BTHK, i_BTHV, g_BTHK, None, state["S"], backend=backend)
        return self.out(self.norm(o_BTHV.flatten(2))), {"S": S_BHKV}
