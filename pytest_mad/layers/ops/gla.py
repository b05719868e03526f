"""Gated linear attention: a state that decays, and to which every token adds its key times its value.

The core of linear attention, RetNet, GLA, HGRN2, Mamba-2 and RWKV-5 and 6, which differ in where q, k, v and the decay
come from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import fla_kernels
from .chunks import carry, decayed_scores, halvable_size, join, later, sooner, split, split_decay
from .operator import Operator

CHUNK = 64  # with one decay per head a chunk costs C^2 (K + V), two matrix products
CHUNK_OF_CHANNELS = 16  # with one per channel C^2 K exponentials


def recurrent(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, g_BTHK: Tensor | None, bonus_HK: Tensor | None, S_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """``S_t = diag(exp g_t) S_{t-1} + k_t^T v_t`` and ``o_t = q_t S_t``.

    With a bonus u, the token itself enters by another way: ``o_t = q_t (S_{t-1} + (u (.) k_t)^T v_t)``.

    Source: Yang et al., Gated Linear Attention, arXiv 2312.06635, eq. 3; the bonus: Peng et al., Eagle and Finch,
    arXiv 2404.05892, eq. 8.

    Args:
        q_BTHK, k_BTHK, v_BTHV: queries, keys and values; q comes scaled.
        g_BTHK: log decay, at most 0, per channel; ``(B, T, H, 1)`` for one per head, None for none.
        bonus_HK: u, or None.
        S_BHKV: the state before the first token.

    Returns:
        o_BTHV, and the state behind the last token.
    """
    outputs = []
    for t in range(q_BTHK.shape[1]):
        q_BHK, k_BHK, v_BHV = q_BTHK[:, t], k_BTHK[:, t], v_BTHV[:, t]
        written = k_BHK[..., :, None] * v_BHV[..., None, :]
        before = S_BHKV
        S_BHKV = written + (before if g_BTHK is None else g_BTHK[:, t, ..., None].exp() * before)
        seen = S_BHKV if bonus_HK is None else before + bonus_HK[..., None] * written
        outputs.append((q_BHK[..., None, :] @ seen).squeeze(-2))
    return torch.stack(outputs, 1), S_BHKV


def chunked(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, g_BTHK: Tensor | None, bonus_HK: Tensor | None, S_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """`recurrent` in parallel: attention inside chunks, and the state between them (section 4 of arXiv 2312.06635)."""
    g_BTHK = torch.zeros_like(q_BTHK[..., :1]) if g_BTHK is None else g_BTHK
    length = q_BTHK.shape[1]
    size = min(length, CHUNK) if g_BTHK.shape[-1] == 1 else halvable_size(length, CHUNK_OF_CHANNELS)
    q, k, v = (split(x, size) for x in (q_BTHK, k_BTHK, v_BTHV))
    g = split_decay(g_BTHK, size)
    until = g.cumsum(-2)  # log decay from the chunk's beginning up to and with each token
    end = until[..., -1:, :]
    before, S_BHKV = carry(end.exp().mT, (k * (end - until).exp()).mT @ v, S_BHKV)
    if bonus_HK is None:
        o = _scores(q, k, until) @ v + (q * until.exp()) @ before
    else:  # a token reads the state before its own decay, as if it had asked one token sooner
        scores = later(_scores(sooner(q), k, until))
        own = (q * k * bonus_HK[:, None, None]).sum(-1, keepdim=True)
        o = scores @ v + own * v + (q * (until - g).exp()) @ before
    return join(o, length), S_BHKV


def _scores(q: Tensor, k: Tensor, until: Tensor) -> Tensor:
    return decayed_scores(q[..., None, :, :], k[..., None, :, :], until)[..., 0, :, 0, :]


gla = Operator(name="gla", recurrent=recurrent, reference=chunked, kernels=(fla_kernels.GLA,))
