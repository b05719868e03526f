"""Layers whose state is written by the delta rule: DeltaNet, Gated DeltaNet and Kimi Delta Attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.modules.projection import count_heads, expanded, projection, split_heads
from pytest_mad.layers.modules.short_convolution import ShortConvolution
from pytest_mad.layers.modules.step_size import draw_dt_bias
from pytest_mad.layers.ops.delta import delta_rule
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer

NORM_EPS = 1e-6


@register_layer("deltanet", head_dim=16)
class DeltaNet(Mixer):
    """``S_t = S_{t-1} + beta_t k_t^T (v_t - k_t S_{t-1})`` and ``y_t = W_o norm(q_t S_t / sqrt(K))``.

    q, k and v pass a short convolution and silu, q and k have norm 1, and ``beta_t = sigmoid(W_b x_t)`` per head.

    Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule, arXiv 2406.06484, sections 2.2 and 3.3.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        expand_v: width of all values, as a multiple of ``dim``.
        conv_width: taps of the short convolution.
        allow_negative_eigenvalues: beta from 0 to 2 instead of 1, so that a step can turn a direction around
            (Grazzi et al., arXiv 2411.12537).
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        expand_v: float = 1,
        conv_width: int = 4,
        allow_negative_eigenvalues: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.key_head_dim = dim // self.num_heads
        self.value_dim = expanded(dim, self.num_heads, expand_v=expand_v)
        self.widths = [dim, dim, self.value_dim]
        self.value_head_dim = self.value_dim // self.num_heads
        self.beta_max = 2 if allow_negative_eigenvalues else 1
        self.backend = check_backend(backend)
        self.qkv = projection(dim, sum(self.widths))
        self.conv = ShortConvolution(sum(self.widths), conv_width)
        self.beta = projection(dim, self.num_heads)
        self.norm = RMSNorm(self.value_head_dim)
        self.out = projection(self.value_dim, dim)
        self._build_gates(dim)

    def init_state(self, batch: int) -> State:
        S_BHKV = self._zeros(batch, self.num_heads, self.key_head_dim, self.value_head_dim)
        return {"conv": self.conv.init_state(batch), "S": S_BHKV}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        qkv_BTC, past_BPC = self.conv(self.qkv(x_BTD), state["conv"], backend)
        parts = torch.split(F.silu(qkv_BTC), self.widths, -1)
        q_BTHK, k_BTHK, v_BTHV = (split_heads(part, self.num_heads) for part in parts)
        q_BTHK, k_BTHK = _unit(q_BTHK) * self.key_head_dim**-0.5, _unit(k_BTHK)
        beta_BTH = self.beta_max * torch.sigmoid(self.beta(x_BTD))
        g_BTHK = self._log_decay(x_BTD)
        o_BTHV, S_BHKV = delta_rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, g_BTHK, state["S"], backend=backend)
        y_BTD = self.out((self.norm(o_BTHV) * self._gate(x_BTD)).flatten(2))
        return y_BTD, {"conv": past_BPC, "S": S_BHKV}

    def _build_gates(self, dim: int) -> None:
        """What `_log_decay` and `_gate` need."""

    def _log_decay(self, x_BTD: Tensor) -> Tensor | None:
        """``(B, T, H, K)``, ``(B, T, H, 1)`` or none."""
        return None

    def _gate(self, x_BTD: Tensor) -> Tensor | float:
        """``(B, T, H, V)``, multiplied to the normed output."""
        return 1.0


@register_layer("gated-deltanet", head_dim=16)
class GatedDeltaNet(DeltaNet):
    """DeltaNet whose state decays, by one rate per head, and whose output is gated by ``silu(W_g x)``.

    ``a_t = exp(-exp(A) softplus(W_a x_t + b))``, with exp(A) uniform up to 16 and softplus(b) log-uniform from 0.001 to
    0.1 at first.

    Source: Yang et al., Gated Delta Networks, arXiv 2412.06464, eq. 10. Arguments: see `DeltaNet`.
    """

    def _build_gates(self, dim: int) -> None:
        self.decay = projection(dim, self.num_heads)
        self.dt_bias_H = nn.Parameter(draw_dt_bias(self.num_heads))
        self.A_log_H = nn.Parameter(torch.empty(self.num_heads).uniform_(0, 16).clamp(min=1e-3).log())
        self.gate = projection(dim, self.value_dim)

    def _log_decay(self, x_BTD: Tensor) -> Tensor:
        g_BTH = -self.A_log_H.exp() * F.softplus(self.decay(x_BTD) + self.dt_bias_H)
        return g_BTH[..., None]

    def _gate(self, x_BTD: Tensor) -> Tensor:
        return F.silu(split_heads(self.gate(x_BTD), self.num_heads))


@register_layer("kda", head_dim=16)
class KimiDeltaAttention(DeltaNet):
    """Gated DeltaNet with one decay per key channel, and a sigmoid for the gate; both gates are of low rank.

    ``a_t = exp(-exp(A) softplus(W_2 W_1 x_t + b))``, with exp(A), one per head, uniform from 1 to 16, and softplus(b)
    log-uniform from 0.001 to 0.1 at first.

    Source: Kimi Team, Kimi Linear, arXiv 2510.26692, eq. 1 and section 4. Arguments: see `DeltaNet`.
    """

    def _build_gates(self, dim: int) -> None:
        rank = self.value_head_dim
        self.decay = nn.Sequential(projection(dim, rank), projection(rank, dim))
        self.dt_bias_K = nn.Parameter(draw_dt_bias(dim))
        self.A_log_H = nn.Parameter(torch.empty(self.num_heads).uniform_(1, 16).log())
        self.gate = nn.Sequential(projection(dim, rank), projection(rank, self.value_dim, bias=True))

    def _log_decay(self, x_BTD: Tensor) -> Tensor:
        dt_BTHK = split_heads(F.softplus(self.decay(x_BTD) + self.dt_bias_K), self.num_heads)
        return -self.A_log_H.exp()[:, None] * dt_BTHK

    def _gate(self, x_BTD: Tensor) -> Tensor:
        return torch.sigmoid(split_heads(self.gate(x_BTD), self.num_heads))


def _unit(x: Tensor) -> Tensor:
    """Norm 1 along the last axis; zero stays zero, with a gradient."""
    return x * (x.square().sum(-1, keepdim=True) + NORM_EPS).rsqrt()
