"""The selective scan of Mamba: a diagonal linear recurrence whose decay depends on channel, mode and token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import mamba_kernels
from .operator import Operator

CHUNK = 16


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
    """`recurrent` in parallel, by an associative scan in chunks."""
    kept_BTCN = (dt_BTC[..., None] * A_CN).exp()
    written_BTCN = (dt_BTC * x_BTC)[..., None] * B_BTN[:, :, None]
    if h_BCN is not None:
        first_B1CN = written_BTCN[:, :1] + kept_BTCN[:, :1] * h_BCN[:, None]
        written_BTCN = torch.cat([first_B1CN, written_BTCN[:, 1:]], 1)
    h_BTCN: Tensor = LinearScan.apply(kept_BTCN, written_BTCN)  # type: ignore[no-untyped-call]
    return (h_BTCN @ C_BTN[..., None]).squeeze(-1), h_BTCN[:, -1]


class LinearScan(torch.autograd.Function):
    """``h_t = kept_t (.) h_{t-1} + written_t`` for all t along axis 1, from h = 0.

    Its gradients are a scan from the end: ``r_t = dh_t + kept_{t+1} (.) r_{t+1}`` is that of what is written, and
    ``r_t (.) h_{t-1}`` that of what is kept. Autograd by itself would keep and fill every slice on the way.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(kept_BT: Tensor, written_BT: Tensor) -> Tensor:
        """Shapes ``(B, T, ...)``."""
        return _scan(kept_BT, written_BT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        kept_BT, h_BT = ctx.saved_tensors
        next_kept_BT = torch.cat([kept_BT[:, 1:], torch.zeros_like(kept_BT[:, :1])], 1)
        of_written_BT = _scan(next_kept_BT.flip(1), gradients[0].flip(1)).flip(1)
        before_BT = torch.cat([torch.zeros_like(h_BT[:, :1]), h_BT[:, :-1]], 1)
        return of_written_BT * before_BT, of_written_BT


def _scan(kept_BT: Tensor, written_BT: Tensor) -> Tensor:
    """All chunks at once, each from zero, with what it keeps of the state before it; then that state, chunk by chunk.

    Steps are associative: two are one that keeps the product. Source: Blelloch, Prefix Sums and Their Applications,
    1990, section 1.4.
    """
    length = kept_BT.shape[1]
    missing = -length % CHUNK
    if missing:
        fill = kept_BT.new_zeros(len(kept_BT), missing, *kept_BT.shape[2:])
        kept_BT, written_BT = torch.cat([kept_BT, fill], 1), torch.cat([written_BT, fill], 1)
    chunks = -1, CHUNK
    kept_BNC, h_BNC = (torch.unflatten(x, 1, chunks) for x in (kept_BT, written_BT.clone()))
    all_kept_BNC = kept_BNC.clone()
    for i in range(1, CHUNK):
        h_BNC[:, :, i].add_(kept_BNC[:, :, i] * h_BNC[:, :, i - 1])
        all_kept_BNC[:, :, i].mul_(all_kept_BNC[:, :, i - 1])
    for n in range(1, h_BNC.shape[1]):
        h_BNC[:, n].add_(all_kept_BNC[:, n] * h_BNC[:, n - 1, -1:])
    return h_BNC.flatten(1, 2)[:, :length]


selective_scan = Operator(
    name="selective_scan", recurrent=recurrent, reference=scanned, kernels=(mamba_kernels.SELECTIVE_SCAN,)
)
