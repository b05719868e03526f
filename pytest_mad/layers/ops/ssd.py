"""The state-space dual of Mamba-2: gated linear attention whose keys and queries are shared by many heads."""

from __future__ import annotations

import torch
from torch import Tensor

from . import fla_kernels, gla, mamba_kernels
from .operator import Operator


def recurrent(
    x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTGN: Tensor, C_BTGN: Tensor, S_BHNP: Tensor
) -> tuple[Tensor, Tensor]:
    """``S_t = exp(dt_t A) S_{t-1} + dt_t B_t^T x_t`` and ``y_t = C_t S_t``, in each head.

    Source: Dao and Gu, Transformers are SSMs, arXiv 2405.21060, eq. 2 with a scalar for A.

    Args:
        x_BTHP: input of each head.
        dt_BTH: step size, positive.
        A_H: rate of decay, negative.
        B_BTGN, C_BTGN: how the state is written and read, for each of G groups of neighbouring heads.
        S_BHNP: the state before the first token.

    Returns:
        y_BTHP, and the state behind the last token.
    """
    outputs = []
    for t in range(x_BTHP.shape[1]):
        B_BHN1, C_BH1N = _per_head(B_BTGN[:, t], A_H)[..., None], _per_head(C_BTGN[:, t], A_H)[:, :, None]
        dt_BH11 = dt_BTH[:, t, :, None, None]
        S_BHNP = (dt_BH11 * A_H[:, None, None]).exp() * S_BHNP + dt_BH11 * B_BHN1 * x_BTHP[:, t, :, None]
        outputs.append((C_BH1N @ S_BHNP).squeeze(-2))
    return torch.stack(outputs, 1), S_BHNP


def chunked(
    x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTGN: Tensor, C_BTGN: Tensor, S_BHNP: Tensor
) -> tuple[Tensor, Tensor]:
    """`recurrent` in parallel, as gated linear attention with one decay per head."""
    q_BTHN, k_BTHN = _per_head(C_BTGN, A_H), _per_head(B_BTGN, A_H)
    return gla.chunked(q_BTHN, k_BTHN, dt_BTH[..., None] * x_BTHP, (dt_BTH * A_H)[..., None], None, S_BHNP)


def _per_head(of_group: Tensor, A_H: Tensor) -> Tensor:
    """``(..., G, N) -> (..., H, N)``: each group's for each of its heads."""
    return of_group.repeat_interleave(len(A_H) // of_group.shape[-2], dim=-2)


ssd = Operator(name="ssd", recurrent=recurrent, reference=chunked, kernels=(mamba_kernels.SSD, fla_kernels.SSD))
