"""Gated linear attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts, check_positive
from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.modules.projection import count_heads, expanded, projection, split_heads
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer

GAIN = 2**-2.5


@register_layer("gated-linear-attention", num_heads=1)
@register_layer("mh-gated-linear-attention", head_dim=16)
class GatedLinearAttention(Mixer):
    """``S_t = diag(a_t) S_{t-1} + k_t^T v_t`` and ``y_t = W_o (silu(W_g x_t) (.) norm(q_t S_t / sqrt(K)))``.

    The decay ``a_t = sigmoid(W_2 W_1 x_t + b)^(1 / gate_normalizer)`` is one per key channel.

    Source: Yang et al., Gated Linear Attention, arXiv 2312.06635, section 4.4; configured as in MAD (arXiv 2403.17844).

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        expand_k, expand_v: widths of all keys and of all values, as multiples of ``dim``.
        gate_low_rank: rank of W_2 W_1.
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
        expand_k: float = 1,
        expand_v: float = 1,
        gate_low_rank: int = 16,
        gate_normalizer: float = 16,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        key_dim = expanded(dim, self.num_heads, expand_k=expand_k)
        value_dim = expanded(dim, self.num_heads, expand_v=expand_v)
        check_counts(gate_low_rank=gate_low_rank)
        check_positive(gate_normalizer=gate_normalizer)
        self.key_head_dim = key_dim // self.num_heads
        self.value_head_dim = value_dim // self.num_heads
        self.gate_normalizer = gate_normalizer
        self.backend = check_backend(backend)
        self.q = projection(dim, key_dim)
        self.k = projection(dim, key_dim)
        self.v = projection(dim, value_dim)
        self.decay = nn.Sequential(projection(dim, gate_low_rank), projection(gate_low_rank, key_dim, bias=True))
        self.gate = projection(dim, value_dim)
        self.norm = RMSNorm(self.value_head_dim)
        self.out = projection(value_dim, dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=GAIN)

    def init_state(self, batch: int) -> State:
        return {"S": self._zeros(batch, self.num_heads, self.key_head_dim, self.value_head_dim)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        q, k, v, decay = (split_heads(part(x_BTD), self.num_heads) for part in (self.q, self.k, self.v, self.decay))
        g_BTHK = F.logsigmoid(decay) / self.gate_normalizer
        o_BTHV, S_BHKV = gla(q * self.key_head_dim**-0.5, k, v, g_BTHK, None, state["S"], backend=backend)
        y_BTD = self.out(self.norm(o_BTHV).flatten(2) * F.silu(self.gate(x_BTD)))
        return y_BTD, {"S": S_BHKV}
