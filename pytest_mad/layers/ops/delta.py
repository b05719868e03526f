"""The delta rule and its general form: a state whose old answer to a key is taken out before the new one is put in.

The core of DeltaNet, Gated DeltaNet, KDA and RWKV-7.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import fla_kernels
from .chunks import (
    FORGOTTEN,
    bounded_scores,
    carry,
    decayed_scores,
    halvable_size,
    join,
    later,
    sooner,
    split,
    split_decay,
)
from .operator import Operator

CHUNK = 16
LONG_CHUNK = 32  # where keys are wider than a chunk, and a head has one decay


def recurrent_delta_rule(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, beta_BTH: Tensor, g_BTHK: Tensor | None, S_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """``S' = diag(exp g_t) S_{t-1}``, ``S_t = S' + beta_t k_t^T (v_t - k_t S')`` and ``o_t = q_t S_t``.

    Source: Yang et al., DeltaNet, arXiv 2406.06484, section 2.2; with decay: Gated DeltaNet, arXiv 2412.06464, eq. 10;
    with decay per channel: Kimi Linear, arXiv 2510.26692, eq. 1.

    Args:
        q_BTHK, k_BTHK, v_BTHV: queries, keys and values; q comes scaled, k with norm 1.
        beta_BTH: how much of the old answer is replaced; stable from 0 to 2.
        g_BTHK: log decay, at most 0, per channel; ``(B, T, H, 1)`` for one per head, None for none.
        S_BHKV: the state before the first token.

    Returns:
        o_BTHV, and the state behind the last token.
    """
    outputs = []
    for t in range(q_BTHK.shape[1]):
        q_BH1K, k_BH1K, v_BH1V = (x[:, t, :, None] for x in (q_BTHK, k_BTHK, v_BTHV))
        beta_BH11 = beta_BTH[:, t, :, None, None]
        S_BHKV = S_BHKV if g_BTHK is None else g_BTHK[:, t, ..., None].exp() * S_BHKV
        S_BHKV = S_BHKV + beta_BH11 * k_BH1K.mT @ (v_BH1V - k_BH1K @ S_BHKV)
        outputs.append((q_BH1K @ S_BHKV).squeeze(-2))
    return torch.stack(outputs, 1), S_BHKV


def chunked_delta_rule(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, beta_BTH: Tensor, g_BTHK: Tensor | None, S_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """`recurrent_delta_rule` in parallel.

    Let ``w_t = v_t - k_t S'``, what is new in a value. Inside a chunk it depends on what the chunk's earlier tokens
    wrote, and on the state before the chunk: ``w = v - A w - k' S``, A strictly lower triangular. So with
    ``[w_v, w_S] = (1 + A)^-1 [v, -k']`` it is ``w = w_v + w_S S``. All that follows is linear in w, so the chunk maps
    the state by a matrix (the WY form, section 3.2 of arXiv 2406.06484).
    """
    length, keys = q_BTHK.shape[1], q_BTHK.shape[-1]
    g_BTHK = torch.zeros_like(q_BTHK[..., :1]) if g_BTHK is None else g_BTHK
    size = _chunk_size(q_BTHK, g_BTHK)
    q, k, v, written = (split(x, size) for x in (q_BTHK, k_BTHK, v_BTHV, beta_BTH[..., None] * k_BTHK))
    until = split_decay(g_BTHK, size).cumsum(-2)
    end, decay = until[..., -1:, :], until.exp()

    qk, kk = decayed_scores(torch.stack([q, k], -3), written[..., None, :, :], until)[..., 0, :].unbind(-3)
    one = torch.eye(size, dtype=q.dtype, device=q.device)
    new = torch.cat([v, -k * decay], -1)
    new = torch.linalg.solve_triangular(one + kk.tril(-1), new, upper=False, unitriangular=True)
    read, kept = torch.split(torch.cat([qk, (written * (end - until).exp()).mT], -2) @ new, [size, keys], -2)
    (o, read), (added, kept) = (torch.split(x, [v.shape[-1], keys], -1) for x in (read, kept))

    kept = kept + torch.diag_embed(end.exp().expand_as(k[..., :1, :]).squeeze(-2))
    before, S_BHKV = carry(kept, added, S_BHKV)
    return join(o + (q * decay + read) @ before, length), S_BHKV


def recurrent_dplr(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    a_BTHK: Tensor,
    b_BTHK: Tensor | None,
    g_BTHK: Tensor,
    S_BHKV: Tensor,
    *,
    lowest: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """``S_t = (diag(exp g_t) + b_t^T a_t) S_{t-1} + k_t^T v_t`` and ``o_t = q_t S_t``: diagonal plus low rank.

    Source: Peng et al., RWKV-7, arXiv 2503.14456, eq. 17. Arguments as in `recurrent_delta_rule`; b is k if None, and
    no log decay is below ``lowest``.
    """
    b_BTHK = k_BTHK if b_BTHK is None else b_BTHK
    outputs = []
    for t in range(q_BTHK.shape[1]):
        q, k, v, a, b = (x[:, t, :, None] for x in (q_BTHK, k_BTHK, v_BTHV, a_BTHK, b_BTHK))
        S_BHKV = g_BTHK[:, t, ..., None].exp() * S_BHKV + b.mT @ (a @ S_BHKV) + k.mT @ v
        outputs.append((q @ S_BHKV).squeeze(-2))
    return torch.stack(outputs, 1), S_BHKV


def chunked_dplr(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    a_BTHK: Tensor,
    b_BTHK: Tensor | None,
    g_BTHK: Tensor,
    S_BHKV: Tensor,
    *,
    lowest: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """`recurrent_dplr` in parallel.

    Let ``u_t = a_t S_{t-1}``, what the state answers. As in `chunked_delta_rule`, ``u = A_ab u + A_ak v + a' S``, A
    strictly lower triangular, so ``u = u_v + u_S S`` with ``[u_v, u_S] = (1 - A_ab)^-1 [A_ak v, a']``.
    """
    length, keys, values = q_BTHK.shape[1], q_BTHK.shape[-1], v_BTHV.shape[-1]
    size = _chunk_size(q_BTHK, g_BTHK)
    b_BTHK = k_BTHK if b_BTHK is None else b_BTHK
    q, k, v, a, b = (split(x, size) for x in (q_BTHK, k_BTHK, v_BTHV, a_BTHK, b_BTHK))
    g = split_decay(g_BTHK, size)
    until = g.cumsum(-2)
    end = until[..., -1:, :]
    a_start = a * (until - g).exp()  # a asks before the token's own decay, as if one token sooner

    told = torch.stack([k, b], -3)
    score = bounded_scores if size * lowest >= FORGOTTEN else decayed_scores
    scores = score(torch.stack([q, sooner(a)], -3), told, until)
    of_q, of_a = scores.unbind(-4)
    ak, ab = torch.split(later(of_a.flatten(-2)), size, -1)
    one = torch.eye(size, dtype=q.dtype, device=q.device)
    answers = torch.cat([ak @ v, a_start], -1)
    answers = torch.linalg.solve_triangular(one - ab, answers, upper=False, unitriangular=True)

    writers = torch.cat([of_q.flatten(-2), (told * (end - until).exp()[..., None, :, :]).flatten(-3, -2).mT], -2)
    what = torch.cat([F.pad(v, (0, keys)), answers], -2)
    read, kept = torch.split(writers @ what, [size, keys], -2)
    (o, read), (added, kept) = (torch.split(x, [values, keys], -1) for x in (read, kept))
    kept = kept + torch.diag_embed(end.exp().expand_as(a[..., :1, :]).squeeze(-2))
    before, S_BHKV = carry(kept, added, S_BHKV)
    return join(o + (q * until.exp() + read) @ before, length), S_BHKV


def _chunk_size(q_BTHK: Tensor, g_BTHK: Tensor) -> int:
    """Decays of channels are halved down to single tokens, so their chunk is a power of 2."""
    if g_BTHK.shape[-1] > 1:
        return halvable_size(q_BTHK.shape[1], CHUNK)
    return min(q_BTHK.shape[1], CHUNK if q_BTHK.shape[-1] <= CHUNK else LONG_CHUNK)


delta_rule = Operator(
    name="delta_rule", recurrent=recurrent_delta_rule, reference=chunked_delta_rule, kernels=(fla_kernels.DELTA_RULE,)
)
dplr = Operator(name="dplr", recurrent=recurrent_dplr, reference=chunked_dplr, kernels=(fla_kernels.DPLR,))
