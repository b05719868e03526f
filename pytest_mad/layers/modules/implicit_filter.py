"""A long filter that is a function of the position instead of a table."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from .projection import projection

FEATURES = 3
FREQUENCY = 1e-4
HIDDEN_LAYERS = 3
SLOW, FAST = 1.5, 0.3  # shares of max_length after which the slowest and the fastest channel have decayed to TARGET
TARGET = 0.01


class ImplicitFilter(nn.Module):
    """``h_t = (W z_t') (.) exp(-|delta| t / (L - 1))``, where z' is what a small network with sines makes of z_t.

    It sees the features ``z_t = (t / (L - 1), cos(f w_t), -sin(f w_t))`` with ``w_t = 2 pi t / L``, L the maximal
    length. They are parameters, as in MAD; f is so small that at first the last two are all but constant. The three
    sines share one frequency per unit, and the rates delta are fixed. At lag 0 a learned skip D is added: a convolution
    with h contains ``D (.) u_t``.

    Source: Poli et al., Hyena Hierarchy, arXiv 2302.10866, eq. 7 and section 3.3; configured as in MAD (arXiv
    2403.17844).

    Args:
        channels: number of filters.
        order: width of the network.
        max_length: longest filter L.
    """

    def __init__(self, channels: int, order: int, max_length: int) -> None:
        super().__init__()
        self.z_TF = nn.Parameter(_features(max_length))
        widths = [FEATURES] + [order] * HIDDEN_LAYERS
        self.hidden = nn.ModuleList(projection(*pair, bias=True) for pair in itertools.pairwise(widths))
        self.frequency = nn.Parameter(torch.ones(order))
        self.out = projection(order, channels)
        self.skip_C = nn.Parameter(torch.randn(channels))
        self.decay_TC: Tensor
        self.register_buffer("decay_TC", _decay(max_length, channels), persistent=False)

    def forward(self, length: int) -> Tensor:
        """``(length, C)``: the filters for the lags from 0 to ``length - 1``."""
        x_TF = self.z_TF[:length]
        with torch.autocast(x_TF.device.type, enabled=False):  # half precision cannot tell positions apart
            for linear in self.hidden:
                x_TF = torch.sin(self.frequency * linear(x_TF))
            h_TC = self.out(x_TF) * self.decay_TC[:length]
            return torch.cat([h_TC[:1] + self.skip_C, h_TC[1:]])


def _positions(max_length: int) -> Tensor:
    """``(L, 1)`` from 0 to 1, as float64: until the end, like rotary angles."""
    return torch.linspace(0, 1, max_length, dtype=torch.float64)[:, None]


def _features(max_length: int) -> Tensor:
    angle_T1 = FREQUENCY * 2 * math.pi / max_length * torch.arange(max_length, dtype=torch.float64)[:, None]
    return torch.cat([_positions(max_length), angle_T1.cos(), -angle_T1.sin()], 1).float()


def _decay(max_length: int, channels: int) -> Tensor:
    rate_C = -math.log(TARGET) * torch.linspace(1 / SLOW, 1 / FAST, channels, dtype=torch.float64)
    return torch.exp(-_positions(max_length) * rate_C).float()
