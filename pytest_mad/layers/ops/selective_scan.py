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
        of_written_BT = _scan_back(kept_BT, gradients[0])
        of_kept_BT = torch.cat([torch.zeros_like(h_BT[:, :1]), of_written_BT[:, 1:] * h_BT[:, :-1]], 1)
        return of_kept_BT, of_written_BT


def _scan(kept_BT: Tensor, written_BT: Tensor) -> Tensor:
    """All chunks at once, each from zero, with what it keeps of the state before it; then that state, chunk by chunk.

    Steps are associative: two are one that keeps the product. Source: Blelloch, Prefix Sums and Their Applications,
    1990, section 1.4.
    """
    kept_BNC, h_BNC = _in_chunks(kept_BT), _in_chunks(written_BT).clone()
    all_kept_BNC = kept_BNC.clone()
    for i in range(1, CHUNK):
        h_BNC[:, :, i].add_(kept_BNC[:, :, i] * h_BNC[:, :, i - 1])
        all_kept_BNC[:, :, i].mul_(all_kept_BNC[:, :, i - 1])
    for n in range(1, h_BNC.shape[1]):
        h_BNC[:, n].add_(all_kept_BNC[:, n] * h_BNC[:, n - 1, -1:])
    return h_BNC.flatten(1, 2)[:, : kept_BT.shape[1]]


def _scan_back(kept_BT: Tensor, h_BT: Tensor) -> Tensor:
    """``r_t = h_t + kept_{t+1} (.) r_{t+1}``, in the same way from the end."""
    kept_BNC, r_BNC = _in_chunks(kept_BT), _in_chunks(h_BT).clone()
    all_kept_BNC = torch.cat([kept_BNC[:, :, 1:], torch.ones_like(kept_BNC[:, :, :1])], 2)
    for i in range(CHUNK - 2, -1, -1):
        r_BNC[:, :, i].add_(kept_BNC[:, :, i + 1] * r_BNC[:, :, i + 1])
        all_kept_BNC[:, :, i].mul_(all_kept_BNC[:, :, i + 1])
    for n in range(r_BNC.shape[1] - 2, -1, -1):
        r_BNC[:, n].add_(all_kept_BNC[:, n] * (kept_BNC[:, n + 1, :1] * r_BNC[:, n + 1, :1]))
    return r_BNC.flatten(1, 2)[:, : kept_BT.shape[1]]


def _in_chunks(x_BT: Tensor) -> Tensor:
    """``(B, T, ...) -> (B, N, CHUNK, ...)``, filled up with zeros: what comes last is nothing, and keeps nothing."""
    missing = -x_BT.shape[1] % CHUNK
    if missing:
        x_BT = torch.cat([x_BT, x_BT.new_zeros(len(x_BT), missing, *x_BT.shape[2:])], 1)
    return torch.unflatten(x_BT, 1, (-1, CHUNK))


selective_scan = Operator(
    name="selective_scan", recurrent=recurrent, reference=scanned, kernels=(mamba_kernels.SELECTIVE_SCAN,)
)
