"""Causal convolutions over time, one filter per channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import conv_kernels
from .operator import Operator

#: Numbers that a processor's cache holds several times.
CACHED = 2**15


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
    all_BSC = torch.cat([past_BPC, x_BTC], 1)
    bias_C = weight_CW.new_zeros(len(weight_CW)) if bias_C is None else bias_C
    y_BTC: Tensor = Taps.apply(all_BSC, weight_CW.T.contiguous(), bias_C)  # type: ignore[no-untyped-call]
    return y_BTC, all_BSC[:, x_BTC.shape[1] :]


class Taps(torch.autograd.Function):
    """``(B, W - 1 + T, C)``, ``(W, C)`` and ``(C,)`` to ``(B, T, C)``: ``y_t = b + sum_w weight_w (.) x_{t+w}``.

    On a CPU these products wait for memory more than they compute. So a few sequences at a time pass all of them while
    they are in the cache; and channels are next to each other, also in the taps.
    """

    @staticmethod
    def forward(x_BSC: Tensor, weight_WC: Tensor, bias_C: Tensor) -> Tensor:
        length = x_BSC.shape[1] - len(weight_WC) + 1
        shape = (len(x_BSC), length, x_BSC.shape[2])
        y_BTC = x_BSC.new_empty(shape, dtype=torch.result_type(x_BSC, weight_WC))
        for rows in _rows_at_once(x_BSC):
            y_BTC[rows] = bias_C
            for tap, weight_C in enumerate(weight_WC):
                y_BTC[rows].addcmul_(x_BSC[rows, tap : tap + length], weight_C)
        return y_BTC

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004 (torch's)
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_BSC, weight_WC = ctx.saved_tensors
        (of_y_BTC,) = gradients
        length = of_y_BTC.shape[1]
        of_x, of_weight_WC = [], torch.zeros_like(weight_WC)
        for rows in _rows_at_once(x_BSC):
            x_RSC, of_y_RTC = x_BSC[rows], of_y_BTC[rows]
            of_x_RSC = F.pad(of_y_RTC * weight_WC[-1], (0, 0, len(weight_WC) - 1, 0))
            for tap, weight_C in enumerate(weight_WC[:-1]):
                of_x_RSC[:, tap : tap + length] += of_y_RTC * weight_C
            of_taps = [(of_y_RTC * x_RSC[:, tap : tap + length]).sum((0, 1)) for tap in range(len(weight_WC))]
            of_x.append(of_x_RSC)
            of_weight_WC = of_weight_WC + torch.stack(of_taps)
        return torch.cat(of_x), of_weight_WC, of_y_BTC.sum((0, 1))

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x_BSC: Tensor, weight_WC: Tensor, bias_C: Tensor
    ) -> tuple[Tensor, int]:
        """Several models side by side have the channels of all."""
        inputs = (x_BSC, weight_WC, bias_C)
        stacked = (
            tensor.unsqueeze(-2).expand(*tensor.shape[:-1], info.batch_size, -1)
            if dim is None
            else tensor.movedim(dim, -2)
            for tensor, dim in zip(inputs, in_dims, strict=True)
        )
        y: Tensor = Taps.apply(*(tensor.flatten(-2) for tensor in stacked))  # type: ignore[no-untyped-call]
        return torch.unflatten(y, -1, (info.batch_size, -1)), y.ndim - 1


def _rows_at_once(x_BSC: Tensor) -> Iterator[slice]:
    """Sequences that fit into the cache together, of a CPU; all elsewhere, and where a compiler sees to it."""
    is_one_call = x_BSC.device.type != "cpu" or torch.compiler.is_compiling()
    rows = len(x_BSC) if is_one_call else max(1, CACHED // max(1, x_BSC[:1].numel()))
    return (slice(first, first + rows) for first in range(0, len(x_BSC), max(1, rows)))


short_convolution = Operator(
    name="short_convolution",
    recurrent=recurrent_short,
    reference=shifted_short,
    kernels=(conv_kernels.SHORT_CONVOLUTION,),
)
