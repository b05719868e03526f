"""Gated slot attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.modules.checks import check_counts, check_positive
from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.modules.projection import count_heads, projection, split_heads
from pytest_mad.layers.ops.gsa import gsa
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("gsa", head_dim=16, num_slots=8)
class GatedSlotAttention(Mixer):
    """Attention over M slots: what is forgotten in a slot is replaced by the token's key and value.

    ``K_t = K_{t-1} diag(f_t) + k_t^T (1 - f_t)``, ``V_t = diag(f_t) V_{t-1} + (1 - f_t)^T v_t`` and
    ``y_t = W_o norm(silu(softmax(q_t K_t) V_t))``, with ``f_t = sigmoid(W_f x_t)^(1 / gate_normalizer)`` per slot, and
    silu on q, k and v.

    Source: Zhang et al., Gated Slot Attention, arXiv 2409.07146.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        num_slots: M, in each head.
        gate_normalizer: the larger, the slower the decay.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        num_slots: int = 8,
        gate_normalizer: float = 8,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        check_counts(num_slots=num_slots)
        check_positive(gate_normalizer=gate_normalizer)
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.num_slots = num_slots
        self.gate_normalizer = gate_normalizer
        self.backend = check_backend(backend)
        self.q = projection(dim, dim)
        self.k = projection(dim, dim)
        self.v = projection(dim, dim)
        self.forget = projection(dim, self.num_heads * num_slots)
        self.norm = RMSNorm(dim)
        self.out = projection(dim, dim)

    def init_state(self, batch: int) -> State:
        width = self.out.in_features // self.num_heads
        return {
            "K": self._zeros(batch, self.num_heads, width, self.num_slots),
            "V": self._zeros(batch, self.num_heads, self.num_slots, width),
        }

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        q_BTHK, k_BTHK, v_BTHV = (split_heads(F.silu(part(x_BTD)), self.num_heads) for part in (self.q, self.k, self.v))
        g_BTHM = split_heads(F.logsigmoid(self.forget(x_BTD)), self.num_heads) / self.gate_normalizer
        s_BTHM = -torch.expm1(g_BTHM)  # 1 - f
        o_BTHV, (K_BHKM, V_BHMV) = gsa(q_BTHK, k_BTHK, v_BTHV, s_BTHM, g_BTHM, state["K"], state["V"], backend=backend)
        return self.out(self.norm(F.silu(o_BTHV.flatten(2)))), {"K": K_BHKM, "V": V_BHMV}
