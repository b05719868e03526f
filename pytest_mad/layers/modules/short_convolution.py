"""The short convolution that many mixers put before their recurrence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_mad.layers.ops.convolution import short_convolution
from pytest_mad.layers.ops.operator import Backend

from .checks import check_counts


class ShortConvolution(nn.Module):
    """Depthwise and causal: every channel is a weighted sum of its last ``width`` inputs.

    Args:
        channels: C.
        width: taps of the filter.
        bias: whether there is one.
    """

    def __init__(self, channels: int, width: int, bias: bool = False) -> None:
        super().__init__()
        check_counts(conv_width=width)
        bound = width**-0.5  # as nn.Conv1d draws it
        self.weight_CW = nn.Parameter(torch.empty(channels, width).uniform_(-bound, bound))
        self.bias_C = nn.Parameter(torch.empty(channels).uniform_(-bound, bound)) if bias else None

    def init_state(self, batch: int) -> Tensor:
        """``(B, width - 1, C)`` of zeros: what came before the first input."""
        channels, width = self.weight_CW.shape
        return self.weight_CW.new_zeros(batch, width - 1, channels)

    def forward(self, x_BTC: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        """``(B, T, C) -> (B, T, C)``, and the past of what comes next."""
        y_BTC, past_BPC = short_convolution(x_BTC, self.weight_CW, self.bias_C, past_BPC, backend=backend)
        return y_BTC, past_BPC
