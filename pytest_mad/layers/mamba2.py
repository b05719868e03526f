"""Mamba-2: a state-space layer whose modes share one rate per head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.norms import GroupedRMSNorm
from pytest_mad.layers.modules.projection import count_heads, projection, split_heads
from pytest_mad.layers.modules.short_convolution import ShortConvolution
from pytest_mad.layers.modules.step_size import draw_dt_bias
from pytest_mad.layers.ops.operator import Backend, check_backend
from pytest_mad.layers.ops.ssd import ssd

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("mamba2", head_dim=16, state_dim=8)
class Mamba2(Mixer):
    """``S_t = exp(dt_t A) S_{t-1} + dt_t B_t^T x_t`` and ``y_t = W_o norm(silu(z_t) (.) (C_t S_t + D x_t))``.

    x, B and C pass a short convolution and silu. A head has one rate A and one skip D; B and C are shared by the heads
    of a group, over which the norm is taken too.

    Source: Dao and Gu, Transformers are SSMs, arXiv 2405.21060, eq. 2 with a scalar for A, and section 7.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them, of the inner width ``expand * dim``; 64 wide in the paper.
        state_dim: N, the width of B and C; 128 in the paper, 8 for a state of MAD's size.
        expand: inner width, as a multiple of ``dim``.
        num_groups: G, groups of heads.
        conv_width: taps of the short convolution.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        state_dim: int = 8,
        expand: int = 2,
        num_groups: int = 1,
        conv_width: int = 4,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        check_counts(state_dim=state_dim, expand=expand, num_groups=num_groups)
        inner = expand * dim
        self.num_heads = count_heads(inner, num_heads, head_dim, name="expand * dim =")
        if self.num_heads % num_groups:
            raise ValueError(f"num_heads {self.num_heads} is not divisible by num_groups {num_groups}")
        self.num_groups = num_groups
        self.state_shape = (self.num_heads, state_dim, inner // self.num_heads)
        self.widths = [inner, num_groups * state_dim, num_groups * state_dim]
        self.backend = check_backend(backend)
        self.z = projection(dim, inner)
        self.xBC = projection(dim, sum(self.widths))
        self.conv = ShortConvolution(sum(self.widths), conv_width, bias=True)
        self.dt = projection(dim, self.num_heads)
        self.dt_bias_H = nn.Parameter(draw_dt_bias(self.num_heads))
        self.A_log_H = nn.Parameter(torch.empty(self.num_heads).uniform_(1, 16).log())
        self.D_H = nn.Parameter(torch.ones(self.num_heads))
        self.norm = GroupedRMSNorm(inner, num_groups)
        self.out = projection(inner, dim)

    def init_state(self, batch: int) -> State:
        return {"conv": self.conv.init_state(batch), "S": self._zeros(batch, *self.state_shape)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        xBC_BTC, past_BPC = self.conv(self.xBC(x_BTD), state["conv"], backend)
        x_BTI, B_BTI, C_BTI = torch.split(F.silu(xBC_BTC), self.widths, -1)
        x_BTHP = split_heads(x_BTI, self.num_heads)
        B_BTGN, C_BTGN = (split_heads(part, self.num_groups) for part in (B_BTI, C_BTI))
        dt_BTH = F.softplus(self.dt(x_BTD) + self.dt_bias_H)
        y_BTHP, S_BHNP = ssd(x_BTHP, dt_BTH, -self.A_log_H.exp(), B_BTGN, C_BTGN, state["S"], backend=backend)
        y_BTHP = y_BTHP + self.D_H[:, None] * x_BTHP
        y_BTD = self.out(self.norm(y_BTHP.flatten(2) * F.silu(self.z(x_BTD))))
        return y_BTD, {"conv": past_BPC, "S": S_BHNP}
