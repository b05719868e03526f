"""RWKV-5, called Eagle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.projection import count_heads, projection
from pytest_mad.layers.modules.rwkv_parts import HeadNorm, blend, present_shares, previous_tokens
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("rwkv5-time-mixer", head_dim=16)
class RWKV5TimeMixer(Mixer):
    """``o_t = r_t (S_{t-1} + (u (.) k_t)^T v_t)``, ``S_t = diag(w) S_{t-1} + k_t^T v_t`` with a learned decay w and
    bonus u, and ``y_t = W_o (silu(g_t) (.) norm(o_t))``.

    Each of r, k, v and g is a projection of ``mu (.) x_t + (1 - mu) (.) x_{t-1}`` with its own learned mu.

    Source: Peng et al., Eagle and Finch, arXiv 2404.05892, section 4.1; configured as in MAD (arXiv 2403.17844), where
    every layer starts like the only layer of a model. MAD-Lab's needs CUDA and computes in bfloat16, this one need not.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.backend = check_backend(backend)
        self.mu_CD = nn.Parameter(present_shares(dim, (0.5, 1, 1, 0.5)))  # r, k, v, g
        self.decay_D = nn.Parameter(-6 + 5 * torch.linspace(0, 1, dim) ** 0.7)
        self.bonus_HK = nn.Parameter(0.1 * (torch.arange(1, dim + 1) % 3 - 1).view(self.num_heads, -1))
        self.r = projection(dim, dim)
        self.k = projection(dim, dim)
        self.v = projection(dim, dim)
        self.gate = projection(dim, dim)
        self.norm = HeadNorm(self.num_heads, dim)
        self.out = projection(dim, dim)

    def init_state(self, batch: int) -> State:
        heads, width = self.bonus_HK.shape
        return {"shift": self._zeros(batch, heads * width), "S": self._zeros(batch, heads, width, width)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        *mixed, decay = self._shift(x_BTD, previous_tokens(x_BTD, state["shift"]))
        r, k, v, gate = (part(x) for part, x in zip((self.r, self.k, self.v, self.gate), mixed, strict=True))
        r, k, v, g = (x.unflatten(-1, (self.num_heads, -1)) for x in (r, k, v, -decay.exp()))
        o_BTHV, S_BHKV = gla(r, k, v, g, self.bonus_HK, state["S"], backend=backend)
        y_BTD = self.out(self.norm(o_BTHV) * F.silu(gate))
        return y_BTD, {"shift": x_BTD[:, -1], "S": S_BHKV}

    def _shift(self, x_BTD: Tensor, previous_BTD: Tensor) -> list[Tensor]:
        """What r, k, v and g are projections of; and d in ``w = exp(-exp(d))``. All ``(B, T, D)``."""
        return [*blend(previous_BTD, x_BTD, self.mu_CD), self.decay_D.expand_as(x_BTD)]


@register_layer("rwkv5-channel-mixer")
class RWKV5ChannelMixer(Mixer):
    """``y_t = sigmoid(W_r r_t) (.) W_v relu(W_k k_t)^2``; r and k are ``mu (.) x_t + (1 - mu) (.) x_{t-1}``.

    It sees one other position, and is therefore no channel mixer for a control that must not see any.

    Source: Peng et al., Eagle and Finch, arXiv 2404.05892, section 4.1; configured as in MAD (arXiv 2403.17844).

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        dim_inner: inner width; None for 4 dim.
    """

    def __init__(self, dim: int, max_length: int, *, dim_inner: int | None = None) -> None:
        super().__init__()
        dim_inner = 4 * dim if dim_inner is None else dim_inner
        check_counts(dim_inner=dim_inner)
        self.mu_CD = nn.Parameter(present_shares(dim, (1, 1)))  # r, k
        self.r = projection(dim, dim)
        self.k = projection(dim, dim_inner)
        self.v = projection(dim_inner, dim)

    def init_state(self, batch: int) -> State:
        return {"shift": self._zeros(batch, self.r.in_features)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        r_BTD, k_BTD = self._shift(x_BTD, previous_tokens(x_BTD, state["shift"]))
        y_BTD = self.r(r_BTD).sigmoid() * self.v(self.k(k_BTD).relu().square())
        return y_BTD, {"shift": x_BTD[:, -1]}

    def _shift(self, x_BTD: Tensor, previous_BTD: Tensor) -> list[Tensor]:
        return blend(previous_BTD, x_BTD, self.mu_CD)
