"""Causal convolutions with filters as long as the input: of channels, and of pairs of a key and a value."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .operator import Operator

LONGEST_MATRIX = 1024  # pairs of longer inputs are convolved by FFT


def recurrent(u_BTC: Tensor, h_SC: Tensor, past_BPC: Tensor) -> tuple[Tensor, Tensor]:
    """``y_t = sum_{s<=t} h_{t-s} (.) u_s``, one filter per channel.

    There is no recurrence of a fixed size: every output reads all inputs, which are kept.

    Source: Poli et al., Hyena Hierarchy, arXiv 2302.10866, eq. 1.

    Args:
        u_BTC: input.
        h_SC: the filters, for the lags from 0 to S - 1 = P + T - 1.
        past_BPC: the inputs before the first.

    Returns:
        y_BTC, and all inputs so far.
    """
    outputs = []
    for u_BC in u_BTC.unbind(1):
        past_BPC = torch.cat([past_BPC, u_BC[:, None]], 1)
        outputs.append((past_BPC * h_SC[: past_BPC.shape[1]].flip(0)).sum(1))
    return torch.stack(outputs, 1), past_BPC


def transformed(u_BTC: Tensor, h_SC: Tensor, past_BPC: Tensor) -> tuple[Tensor, Tensor]:
    """`recurrent` in parallel, by FFT.

    On a CPU it beats the product with the filters' Toeplitz matrices, which also take S times the filters' memory. One
    thread, forward and backward, batch 32, 256 channels: 6 against 8 ms at T=48, 19 against 29 at T=128, 41 against 114
    at T=256, 250 against 380 at T=512.
    """
    u_BSC = torch.cat([past_BPC, u_BTC], 1)
    y_BTC: Tensor = CausalConvolution.apply(u_BSC, h_SC, past_BPC.shape[1])  # type: ignore[no-untyped-call]
    return y_BTC, u_BSC


class CausalConvolution(torch.autograd.Function):
    """``(B, S, C)`` with ``(S, C)`` to ``(B, S - P, C)``: the outputs behind the first P.

    The gradients of a convolution are correlations, real ones too; autograd would transform complex numbers.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(u_BSC: Tensor, h_SC: Tensor, past: int) -> Tensor:
        length = len(h_SC)
        size = _fast_size(2 * length - 1)  # room for the end of the convolution, which must not wrap around
        y_BCF = torch.fft.rfft(u_BSC.mT, size) * torch.fft.rfft(h_SC.mT, size)
        y_BCS: Tensor = torch.fft.irfft(y_BCF, size)
        return y_BCS[..., past:length].mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004 (torch's)
        u_BSC, h_SC, ctx.past = inputs
        ctx.save_for_backward(u_BSC, h_SC)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        u_BSC, h_SC = ctx.saved_tensors
        length = len(h_SC)
        size = _fast_size(2 * length - 1)
        of_y_BCF = torch.fft.rfft(F.pad(gradients[0].mT, (ctx.past, 0)), size)
        of_u_BCF = of_y_BCF * torch.fft.rfft(h_SC.mT, size).conj()
        of_h_CF = (of_y_BCF * torch.fft.rfft(u_BSC.mT, size).conj()).sum(0)
        of_u_BSC, of_h_SC = (torch.fft.irfft(x, size)[..., :length].mT for x in (of_u_BCF, of_h_CF))
        return of_u_BSC, of_h_SC, None


def recurrent_pairs(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, h_SH: Tensor, k_BPHK: Tensor, v_BPHV: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``o_t = q_t sum_{s<=t} h_{t-s} k_s^T v_s``, one filter per head.

    Source: Massaroli et al., Laughing Hyena Distillery, arXiv 2310.18780, section 4.

    Args:
        q_BTHK, k_BTHK, v_BTHV: queries, keys and values.
        h_SH: the filters, for the lags from 0 to S - 1 = P + T - 1.
        k_BPHK, v_BPHV: the keys and values before the first.

    Returns:
        o_BTHV, and all keys and values so far.
    """
    outputs = []
    for q_BHK, k_BHK, v_BHV in zip(q_BTHK.unbind(1), k_BTHK.unbind(1), v_BTHV.unbind(1), strict=True):
        k_BPHK, v_BPHV = torch.cat([k_BPHK, k_BHK[:, None]], 1), torch.cat([v_BPHV, v_BHV[:, None]], 1)
        scores_BPH = (q_BHK[:, None] * k_BPHK).sum(-1) * h_SH[: k_BPHK.shape[1]].flip(0)
        outputs.append((scores_BPH[..., None] * v_BPHV).sum(1))
    return torch.stack(outputs, 1), (k_BPHK, v_BPHV)


def scored_pairs(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, h_SH: Tensor, k_BPHK: Tensor, v_BPHV: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`recurrent_pairs` in parallel: ``o_t = sum_s h_{t-s} (q_t . k_s) v_s``, attention weighted by the filter.

    Up to S = 1,024 this beats an FFT over all K V channels of a head, as long as K and V are not tiny. One thread,
    forward and backward, batch 8, 8 heads of 16: 1 against 18 ms at T=48, 5 against 81 at T=128, 320 against 970 at
    T=512, 1,050 against 1,980 at T=1024. From there on it would take more memory, too.
    """
    k_BSHK, v_BSHV = torch.cat([k_BPHK, k_BTHK], 1), torch.cat([v_BPHV, v_BTHV], 1)
    if len(h_SH) > LONGEST_MATRIX:
        return _transformed_pairs(q_BTHK, k_BSHK, v_BSHV, h_SH), (k_BSHK, v_BSHV)
    q_BHTK, k_BHSK, v_BHSV = (x.transpose(1, 2) for x in (q_BTHK, k_BSHK, v_BSHV))
    scores_BHTS = (q_BHTK @ k_BHSK.mT) * toeplitz(h_SH, q_BHTK.shape[2])
    return (scores_BHTS @ v_BHSV).transpose(1, 2), (k_BSHK, v_BSHV)


def _transformed_pairs(q_BTHK: Tensor, k_BSHK: Tensor, v_BSHV: Tensor, h_SH: Tensor) -> Tensor:
    pairs_BSHKV = k_BSHK[..., :, None] * v_BSHV[..., None, :]
    h_SC = h_SH[..., None, None].expand(pairs_BSHKV.shape[1:]).flatten(1)
    y_BSC, _ = transformed(pairs_BSHKV.flatten(2), h_SC, pairs_BSHKV[:, :0].flatten(2))
    y_BTHKV = y_BSC.view_as(pairs_BSHKV)[:, -q_BTHK.shape[1] :]
    return (q_BTHK[..., None] * y_BTHKV).sum(-2)


def toeplitz(h_SH: Tensor, rows: int) -> Tensor:
    """``(S, H) -> (H, rows, S)``: h_{i-j} in row i and column j, zero for j > i; the last rows of S."""
    position_S = torch.arange(len(h_SH), device=h_SH.device)
    lag_TS = position_S[-rows:, None] - position_S
    future_first_HL = F.pad(h_SH.mT, (1, 0))  # lag -1, which stands for all of the future, is 0
    return future_first_HL[:, lag_TS.clamp(min=-1) + 1]


def _fast_size(minimum: int) -> int:
    """From 4, 5, 6 or 7 times a power of two: an FFT of 2 * 127 takes three times as long as one of 256."""
    step = 1 << max(0, minimum.bit_length() - 3)
    return -(-minimum // step) * step


long_convolution = Operator(name="long_convolution", recurrent=recurrent, reference=transformed)
long_convolution_of_pairs = Operator(
    name="long_convolution_of_pairs", recurrent=recurrent_pairs, reference=scored_pairs
)
