"""The selective scan of Mamba: a diagonal linear recurrence whose decay depends on channel, mode and token."""

from __future__ import annotations

import torch
from torch import Tensor

from . import mamba_kernels
from .operator import Operator


def recurrent(
    x_BTC: Tensor, dt_BTC: Tensor, A_CN: Tensor, B_BTN: Tensor, C_BTN: Tensor, h_BCN: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``h_t = exp(dt_t A) (.) h_{t-1} + (dt_t x_t) B_t`` and ``y_t = h_t C_t``, for each channel N modes.

    Source: Gu and Dao, Mamba, arXiv 2312.00752, eq. 2 and algorithm 2.

    Args:
        x_BTC: input of each channel.
        dt_BTC: step size, positive.
        A_CN: rates of decay, negative.
        B_BTN, C_BTN: how the modes are written and read.
        h_BCN: the state before the first token; None for zeros, the only start that mamba-ssm's kernel has.

    Returns:
        y_BTC, and the state behind the last token.
    """
    h_BCN = x_BTC.new_zeros(len(x_BTC), *A_CN.shape) if h_BCN is None else h_BCN
    outputs = []
    for t in range(x_BTC.shape[1]):
        dt_BC1 = dt_BTC[:, t, :, None]
        h_BCN = (dt_BC1 * A_CN).exp() * h_BCN + dt_BC1 * x_BTC[:, t, :, None] * B_BTN[:, t, None]
        outputs.append((h_BCN @ C_BTN[:, t, :, None]).squeeze(-1))
    return torch.stack(outputs, 1), h_BCN


def scanned(
    x_BTC: Tensor, dt_BTC: Tensor, A_CN: Tensor, B_BTN: Tensor, C_BTN: Tensor, h_BCN: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`recurrent` in parallel, by an associative scan."""
    kept_BTCN = (dt_BTC[..., None] * A_CN).exp()
    written_BTCN = (dt_BTC * x_BTC)[..., None] * B_BTN[:, :, None]
    if h_BCN is not None:
        first_B1CN = written_BTCN[:, :1] + kept_BTCN[:, :1] * h_BCN[:, None]
        written_BTCN = torch.cat([first_B1CN, written_BTCN[:, 1:]], 1)
    h_BTCN = linear_scan(kept_BTCN, written_BTCN)
    return (h_BTCN @ C_BTN[..., None]).squeeze(-1), h_BTCN[:, -1]


def linear_scan(kept_BT: Tensor, written_BT: Tensor) -> Tensor:
    """``h_t = kept_t (.) h_{t-1} + written_t`` for all t along axis 1, from h = 0, in log T rounds.

    Two neighbouring steps are one step, so half the problem gives every second h, and each of the others is one step
    further. Source: Blelloch, Prefix Sums and Their Applications, 1990, section 1.4.
    """
    length = kept_BT.shape[1]
    if length == 1:
        return written_BT
    even, odd = slice(0, length - length % 2, 2), slice(1, None, 2)
    pairs_kept = kept_BT[:, odd] * kept_BT[:, even]
    pairs_written = torch.addcmul(written_BT[:, odd], kept_BT[:, odd], written_BT[:, even])
    h_odd = linear_scan(pairs_kept, pairs_written)
    h_even = torch.addcmul(written_BT[:, 2::2], kept_BT[:, 2::2], h_odd[:, : (length - 1) // 2])
    h_even = torch.cat([written_BT[:, :1], h_even], 1)
    interleaved = torch.stack([h_even[:, : length // 2], h_odd], 2).flatten(1, 2)
    return torch.cat([interleaved, h_even[:, length // 2 :]], 1)


selective_scan = Operator(
    name="selective_scan", recurrent=recurrent, reference=scanned, kernels=(mamba_kernels.SELECTIVE_SCAN,)
)
