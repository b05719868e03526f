"""RWKV-7, called Goose."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.projection import count_heads, projection
from pytest_mad.layers.modules.rwkv_parts import HeadNorm, LowRank, blend, present_shares, previous_tokens
from pytest_mad.layers.ops.delta import dplr
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer

FASTEST = -math.exp(-0.5)  # the lowest log decay: no channel keeps less than 54% of itself from token to token


@register_layer("rwkv7-time-mixer", head_dim=16)
class RWKV7TimeMixer(Mixer):
    """``S_t = (diag(w_t) - (a_t (.) n_t)^T n_t) S_{t-1} + k'_t^T v_t`` and ``o_t = r_t S_t``.

    So the state's answer to n_t is taken out of it, in each key channel at the rate a_t. There ``n_t = l2(k_t (.) xi)``
    and ``k'_t = k_t (.) (1 + (a_t - 1) (.) alpha)``; and with a bonus u the output is
    ``y_t = W_o (g_t (.) (norm(o_t) + (r_t . (u (.) k'_t)) v_t))``. Each of r, k, v, w, a and g is made of a mixture
    ``x_t + mu (.) (x_{t-1} - x_t)`` of its own; w, a and g by low-rank maps, ``w_t = exp(-exp(-1/2) sigmoid(d_t))``.

    Source: Peng et al., RWKV-7 Goose, arXiv 2503.14456, section 4; initialised like the first layer in its authors'
    code, up to two things. There W_o and the first matrix of each low-rank map start at zero, and most of the layer
    does not learn in the first step. Here W_o starts like W_r and W_v, and those matrices start as in RWKV-6.
    In a whole RWKV-7, later layers also mix v with that of the first one; this layer knows no other.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        decay_low_rank, rate_low_rank, gate_low_rank: ranks of the maps to w, a and g. The defaults are the authors' at
            width 128: 2.5, 2.5 and 5 times its root, to the nearest multiple of 32.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        decay_low_rank: int = 32,
        rate_low_rank: int = 32,
        gate_low_rank: int = 64,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.backend = check_backend(backend)
        self.mu_CD = nn.Parameter(1 - present_shares(dim, (0.2, 0.7, 0.7, 0.9, 0.9, 0.2)))  # r, k, v, w, a, g
        self.r = projection(dim, dim)
        self.k = projection(dim, dim)
        self.v = projection(dim, dim)
        check_counts(decay_low_rank=decay_low_rank, rate_low_rank=rate_low_rank, gate_low_rank=gate_low_rank)
        self.decay = LowRank(dim, decay_low_rank)
        self.rate = LowRank(dim, rate_low_rank, nn.Identity())
        self.gate = LowRank(dim, gate_low_rank, torch.sigmoid)
        self.norm = HeadNorm(self.num_heads, dim)
        self.out = projection(dim, dim)
        self._set_constants(dim)
        self._set_matrices(dim)

    def _set_constants(self, dim: int) -> None:
        rising_D, in_head_K = torch.linspace(0, 1, dim), torch.linspace(-1, 1, dim // self.num_heads)
        curve_D = (in_head_K * in_head_K.abs()).repeat(self.num_heads)
        self.decay_D = nn.Parameter(-5.5 + 6 * rising_D + 2.5 * curve_D)
        self.rate_D = nn.Parameter(-0.19 + 0.3 * curve_D + 0.4 * (rising_D - 0.5))
        self.xi_D = nn.Parameter(0.71 - 0.1 * (rising_D - 0.5))
        self.alpha_D = nn.Parameter(torch.full((dim,), 1.02))
        self.bonus_HK = nn.Parameter(torch.full((self.num_heads, len(in_head_K)), -0.04))

    def _set_matrices(self, dim: int) -> None:
        for part, bound in ((self.r, 0.5), (self.k, 0.05), (self.v, 0.5), (self.out, 0.5)):
            nn.init.uniform_(part.weight, -bound * dim**-0.5, bound * dim**-0.5)
        for low_rank in (self.decay, self.rate, self.gate):
            nn.init.orthogonal_(low_rank.up_RD, gain=0.1 * max(1, len(low_rank.up_RD) / dim) ** 0.5)

    def init_state(self, batch: int) -> State:
        heads, width = self.bonus_HK.shape
        return {"shift": self._zeros(batch, heads * width), "S": self._zeros(batch, heads, width, width)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        mixed = blend(x_BTD, previous_tokens(x_BTD, state["shift"]), self.mu_CD)
        parts = (self.r, self.k, self.v, self.decay, self.rate, self.gate)
        r, k, v, decay, rate, gate = (part(x) for part, x in zip(parts, mixed, strict=True))
        g, rate = FASTEST * (self.decay_D + decay).sigmoid(), (self.rate_D + rate).sigmoid()
        n, k = k * self.xi_D, k * (1 + (rate - 1) * self.alpha_D)
        r, k, v, n, g, rate = (x.unflatten(-1, (self.num_heads, -1)) for x in (r, k, v, n, g, rate))

        n = F.normalize(n, dim=-1)
        o_BTHV, S_BHKV = dplr(r, k, v, -n, rate * n, g, state["S"], backend=backend, lowest=FASTEST)
        present_BTHV = (r * k * self.bonus_HK).sum(-1, keepdim=True) * v
        y_BTD = self.out((self.norm(o_BTHV) + present_BTHV.flatten(2)) * gate)
        return y_BTD, {"shift": x_BTD[:, -1], "S": S_BHKV}
