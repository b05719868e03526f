"""Gated slot attention: a memory of M slots that is written by gates and read by a softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from . import fla_kernels, gla
from .chunks import carry, halvable_size, halves, join, split, split_decay
from .operator import Operator


def recurrent(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, s_BTHM: Tensor, g_BTHM: Tensor, K_BHKM: Tensor, V_BHMV: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``K_t = K_{t-1} diag(exp g_t) + k_t^T s_t``, ``V_t = diag(exp g_t) V_{t-1} + s_t^T v_t``,
    ``o_t = softmax(q_t K_t) V_t``.

    Source: Zhang et al., Gated Slot Attention, arXiv 2409.07146.

    Args:
        q_BTHK, k_BTHK, v_BTHV: queries, keys and values; q comes scaled.
        s_BTHM: how strongly each slot is written.
        g_BTHM: log decay of each slot, at most 0.
        K_BHKM, V_BHMV: the keys and values in the slots before the first token.

    Returns:
        o_BTHV, and both states behind the last token.
    """
    outputs = []
    for t in range(q_BTHK.shape[1]):
        q, k, v, s = (x[:, t, :, None] for x in (q_BTHK, k_BTHK, v_BTHV, s_BTHM))
        kept_BHM1 = g_BTHM[:, t, ..., None].exp()
        K_BHKM = K_BHKM * kept_BHM1.mT + k.mT @ s
        V_BHMV = V_BHMV * kept_BHM1 + s.mT @ v
        outputs.append(((q @ K_BHKM).softmax(-1) @ V_BHMV).squeeze(-2))
    return torch.stack(outputs, 1), (K_BHKM, V_BHMV)


def chunked(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, s_BTHM: Tensor, g_BTHM: Tensor, K_BHKM: Tensor, V_BHMV: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`recurrent` in parallel: two passes of gated linear attention, with the softmax over slots between them."""
    scores_BTHM, K_BHKM = _read_keys(q_BTHK, k_BTHK, s_BTHM, g_BTHM, K_BHKM)
    o_BTHV, V_BHMV = gla.chunked(scores_BTHM.softmax(-1), s_BTHM, v_BTHV, g_BTHM, None, V_BHMV)
    return o_BTHV, (K_BHKM, V_BHMV)


def _read_keys(q_BTHK: Tensor, k_BTHK: Tensor, s_BTHM: Tensor, g_BTHM: Tensor, K_BHKM: Tensor) -> tuple[Tensor, Tensor]:
    """``q_t K_t`` for all t, and the last K. The decay is one of the written slots, not of the read keys."""
    length = q_BTHK.shape[1]
    size = halvable_size(length, gla.CHUNK_OF_CHANNELS)
    q, k, s = (split(x, size) for x in (q_BTHK, k_BTHK, s_BTHM))
    until = split_decay(g_BTHM, size).cumsum(-2)
    end = until[..., -1:, :]
    inside = decayed_sum(q @ k.mT, s, until)

    # carried with slots as rows, whose decay `carry` knows
    before, K_BHMK = carry(end.exp().mT, (s * (end - until).exp()).mT @ k, K_BHKM.mT)
    return join(inside + (q @ before.mT) * until.exp(), length), K_BHMK.mT


def decayed_sum(scores_CC: Tensor, v_CM: Tensor, until_CM: Tensor) -> Tensor:
    """``(..., C, M)``: ``sum_{j<=i} scores_ij exp(until_im - until_jm) v_jm``; see `chunks.decayed_scores`."""
    size = v_CM.shape[-2]
    if size == 1:
        return scores_CC * v_CM
    half = size // 2
    early, late = slice(None, half), slice(half, None)
    own_scores = torch.stack([scores_CC[..., early, early], scores_CC[..., late, late]], -3)
    own = decayed_sum(own_scores, halves(v_CM), halves(until_CM))
    border = until_CM[..., half - 1 : half, :]
    at_border = (border - until_CM[..., early, :]).exp() * v_CM[..., early, :]
    across = (until_CM[..., late, :] - border).exp() * (scores_CC[..., late, early] @ at_border)
    return torch.cat([own[..., 0, :, :], own[..., 1, :, :] + across], -2)


gsa = Operator(name="gsa", recurrent=recurrent, reference=chunked, kernels=(fla_kernels.GSA,))
