"""The selective scan of Mamba: a diagonal linear recurrence whose decay depends on channel, mode and token."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import mamba_kernels
from .operator import Operator

CHUNK = 64


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
    """`recurrent` in parallel, by an associative scan in chunks.

    Channels are the last axis inside: there are many of them, and inner loops over the few modes would take longer than
    the arithmetic.
    """
    kept_BTNC = (dt_BTC[:, :, None] * A_CN.mT.contiguous()).exp()
    written_BTNC = B_BTN[..., None] @ (dt_BTC * x_BTC)[:, :, None]
    if h_BCN is not None:
        first_B1NC = written_BTNC[:, :1] + kept_BTNC[:, :1] * h_BCN.mT[:, None]
        written_BTNC = torch.cat([first_B1NC, written_BTNC[:, 1:]], 1)
    h_BTNC: Tensor = LinearScan.apply(kept_BTNC, written_BTNC)  # type: ignore[no-untyped-call]
    return (C_BTN[:, :, None] @ h_BTNC).squeeze(2), h_BTNC[:, -1].mT


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
        kept_later_BT = torch.cat([kept_BT[:, 1:], torch.zeros_like(kept_BT[:, :1])], 1)
        of_written_BT = _scan(kept_later_BT, gradients[0], from_end=True)
        none_B1 = torch.zeros_like(h_BT[:, :1])
        return torch.cat([none_B1, of_written_BT[:, 1:] * h_BT[:, :-1]], 1), of_written_BT


def _scan(kept_BT: Tensor, written_BT: Tensor, *, from_end: bool = False) -> Tensor:
    """All chunks at once, each from zero; then, chunk by chunk, what is kept of the state before it.

    Steps are associative: two are one that keeps the product. Source: Blelloch, Prefix Sums and Their Applications,
    1990, section 1.4.
    """
    kept_BNC, written_BNC = _in_chunks(kept_BT), _in_chunks(written_BT)
    h_BNC = torch.stack(_recurrence(kept_BNC.unbind(2), written_BNC.unbind(2), from_end), 2)
    if h_BNC.shape[1] > 1:
        all_kept_BNC = torch.stack(_products(kept_BNC.unbind(2), from_end), 2)
        end = 0 if from_end else -1
        states = _recurrence(all_kept_BNC[:, :, end].unbind(1), h_BNC[:, :, end].unbind(1), from_end)
        none = torch.zeros_like(states[0])
        before_BN = torch.stack([*states[1:], none] if from_end else [none, *states[:-1]], 1)
        h_BNC = torch.addcmul(h_BNC, all_kept_BNC, before_BN[:, :, None])
    return h_BNC.flatten(1, 2)[:, : kept_BT.shape[1]]


def _recurrence(kept: Sequence[Tensor], written: Sequence[Tensor], from_end: bool) -> list[Tensor]:
    """``h_t = kept_t (.) h_{t-1} + written_t`` from zero, step by step; or with ``h_{t+1}``, from the end."""
    steps = list(zip(kept, written, strict=True))[:: -1 if from_end else 1]
    h = [steps[0][1]]
    for kept_t, written_t in steps[1:]:
        h.append(torch.addcmul(written_t, kept_t, h[-1]))
    return h[:: -1 if from_end else 1]


def _products(kept: Sequence[Tensor], from_end: bool) -> list[Tensor]:
    """The product of what is kept from the first step up to each; or from the last."""
    return list(itertools.accumulate(kept[:: -1 if from_end else 1], torch.mul))[:: -1 if from_end else 1]


def _in_chunks(x_BT: Tensor) -> Tensor:
    """``(B, T, ...) -> (B, N, C, ...)``: as few chunks of at most CHUNK as there can be, all of one length.

    Filled up with zeros: what comes last is nothing, and keeps nothing.
    """
    chunks = max(1, -(-x_BT.shape[1] // CHUNK))
    missing = -x_BT.shape[1] % chunks
    if missing:
        x_BT = torch.cat([x_BT, x_BT.new_zeros(len(x_BT), missing, *x_BT.shape[2:])], 1)
    return torch.unflatten(x_BT, 1, (chunks, -1))


selective_scan = Operator(
    name="selective_scan", recurrent=recurrent, reference=scanned, kernels=(mamba_kernels.SELECTIVE_SCAN,)
)
