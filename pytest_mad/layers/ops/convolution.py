"""Causal convolutions over time, one filter per channel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import conv_kernels
from .operator import Operator


def recurrent_short(x_BTC: Tensor, weight_CW: Tensor, bias_C: Tensor | None, past_BPC: Tensor) -> tuple[Tensor, Tensor]:
    """``y_t = b + sum_w weight_w (.) x_{t-W+1+w}``, a filter of W taps.

    Args:
        x_BTC: input.
        weight_CW: the taps, the last one for the present.
        bias_C: b, or None.
        past_BPC: the W - 1 inputs before the first.

    Returns:
        y_BTC, and the last W - 1 inputs.
    """
    outputs = []
    for t in range(x_BTC.shape[1]):
        window_BWC = torch.cat([past_BPC, x_BTC[:, t : t + 1]], 1)
        y_BC = (window_BWC * weight_CW.T).sum(1)
        outputs.append(y_BC if bias_C is None else y_BC + bias_C)
        past_BPC = window_BWC[:, 1:]
    return torch.stack(outputs, 1), past_BPC


def shifted_short(x_BTC: Tensor, weight_CW: Tensor, bias_C: Tensor | None, past_BPC: Tensor) -> tuple[Tensor, Tensor]:
    """`recurrent_short` in parallel, as one product per tap: on a CPU faster than a grouped convolution."""
    all_BTC = torch.cat([past_BPC, x_BTC], 1)
    y_BTC: Tensor = Taps.apply(all_BTC, weight_CW)  # type: ignore[no-untyped-call]
    return (y_BTC if bias_C is None else y_BTC + bias_C), all_BTC[:, x_BTC.shape[1] :]


class Taps(torch.autograd.Function):
    """``(B, W - 1 + T, C)`` and ``(C, W)`` to ``(B, T, C)``: ``y_t = sum_w weight_w (.) x_{t+w}``.

    Autograd by itself would fill a tensor with zeros for every tap.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x_BSC: Tensor, weight_CW: Tensor) -> Tensor:
        length, taps = x_BSC.shape[1] - weight_CW.shape[1] + 1, weight_CW.shape[1]
        y_BTC = x_BSC[:, :length] * weight_CW[:, 0]
        for tap in range(1, taps):
            y_BTC = torch.addcmul(y_BTC, x_BSC[:, tap : tap + length], weight_CW[:, tap])
        return y_BTC

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004 (torch's)
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x_BSC, weight_CW = ctx.saved_tensors
        of_y_BTC, taps = gradients[0], weight_CW.shape[1]
        length = of_y_BTC.shape[1]
        of_x_BSC = F.pad(of_y_BTC * weight_CW[:, -1], (0, 0, taps - 1, 0))
        for tap in range(taps - 1):
            of_x_BSC[:, tap : tap + length] += of_y_BTC * weight_CW[:, tap]
        of_taps = [(of_y_BTC * x_BSC[:, tap : tap + length]).sum((0, 1)) for tap in range(taps)]
        return of_x_BSC, torch.stack(of_taps, -1)


short_convolution = Operator(
    name="short_convolution",
    recurrent=recurrent_short,
    reference=shifted_short,
    kernels=(conv_kernels.SHORT_CONVOLUTION,),
)
