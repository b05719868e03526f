"""Mamba: a selective state-space layer with its own gate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.projection import projection
from pytest_mad.layers.modules.short_convolution import ShortConvolution
from pytest_mad.layers.modules.step_size import draw_dt_bias
from pytest_mad.layers.ops.operator import Backend, check_backend
from pytest_mad.layers.ops.selective_scan import selective_scan

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("mamba", state_dim=4)
class Mamba(Mixer):
    """``h_t = exp(dt_t A) (.) h_{t-1} + dt_t x_t B_t``, ``y_t = W_o (silu(z_t) (.) (h_t C_t + D (.) x_t))``.

    x and z are projections to C channels, and x passes a short convolution and silu. Each channel has N modes with the
    rates A; dt, B and C depend on x: that is the selection.

    Source: Gu and Dao, Mamba, arXiv 2312.00752, algorithm 2 and section 3.6; configured as in MAD (arXiv 2403.17844).

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        state_dim: modes N of each channel.
        expand: C = expand * dim channels.
        conv_width: taps of the short convolution.
        dt_rank: rank of the map from x to dt; None for dim / 16, rounded up.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        state_dim: int = 4,
        expand: int = 2,
        conv_width: int = 4,
        dt_rank: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        dt_rank = math.ceil(dim / 16) if dt_rank is None else dt_rank
        check_counts(state_dim=state_dim, expand=expand, dt_rank=dt_rank)
        channels = expand * dim
        self.widths = [dt_rank, state_dim, state_dim]
        self.backend = check_backend(backend)
        self.xz = projection(dim, 2 * channels)
        self.conv = ShortConvolution(channels, conv_width, bias=True)
        self.select = projection(channels, sum(self.widths))
        self.dt = nn.Linear(dt_rank, channels)
        nn.init.uniform_(self.dt.weight, -(dt_rank**-0.5), dt_rank**-0.5)
        self.dt.bias = nn.Parameter(draw_dt_bias(channels))
        self.dt.bias._no_reinit = True  # type: ignore[attr-defined]  # a mark for backbones that set biases to zero
        self.A_log_CN = nn.Parameter(torch.arange(1.0, state_dim + 1).log().repeat(channels, 1))
        self.D_C = nn.Parameter(torch.ones(channels))
        self.out = projection(channels, dim)

    def init_state(self, batch: int) -> State:
        return {"conv": self.conv.init_state(batch), "h": self._zeros(batch, *self.A_log_CN.shape)}

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``, all positions at once; without a state, which the kernel does not take."""
        return self._mix(x_BTD, {"conv": self.conv.init_state(len(x_BTD))}, self.backend)[0]

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        x_BTC, z_BTC = self.xz(x_BTD).chunk(2, -1)
        x_BTC, past_BPC = self.conv(x_BTC, state["conv"], backend)
        x_BTC = F.silu(x_BTC)
        low_rank_BTR, B_BTN, C_BTN = self.select(x_BTC).split(self.widths, -1)
        # the bias by itself: under autocast a linear map adds it in half precision, too coarse for small steps
        dt_BTC = F.softplus(F.linear(low_rank_BTR, self.dt.weight) + self.dt.bias)
        A_CN = -self.A_log_CN.exp()
        y_BTC, h_BCN = selective_scan(x_BTC, dt_BTC, A_CN, B_BTN, C_BTN, state.get("h"), backend=backend)
        y_BTC = y_BTC + self.D_C * x_BTC
        return self.out(y_BTC * F.silu(z_BTC)), {"conv": past_BPC, "h": h_BCN}
