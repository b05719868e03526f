"""The delta rule and its general form: a state whose old answer to a key is taken out before the new one is put in.

The core of DeltaNet, Gated DeltaNet, KDA and RWKV-7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import fla_kernels
from .chunks import carry, decayed_scores, join, later, sooner, split, split_decay
from .operator import Operator

CHUNK = 32
CHUNK_OF_CHANNELS = 16


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
    """`recurrent_delta_rule` in parallel, as the case of `chunked_dplr` in which b is the key that is written."""
    g_BTHK = torch.zeros_like(q_BTHK[..., :1]) if g_BTHK is None else g_BTHK
    written_BTHK = beta_BTH[..., None] * k_BTHK
    return chunked_dplr(q_BTHK, written_BTHK, v_BTHV, -k_BTHK * g_BTHK.exp(), None, g_BTHK, S_BHKV)


def recurrent_dplr(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    a_BTHK: Tensor,
    b_BTHK: Tensor | None,
    g_BTHK: Tensor,
    S_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    """``S_t = (diag(exp g_t) + b_t^T a_t) S_{t-1} + k_t^T v_t`` and ``o_t = q_t S_t``: diagonal plus low rank.

    Source: Peng et al., RWKV-7, arXiv 2503.14456, eq. 17. Arguments as in `recurrent_delta_rule`; b is k if None.
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
) -> tuple[Tensor, Tensor]:
    """`recurrent_dplr` in parallel.

    Let ``u_t = a_t S_{t-1}``, what the state answers. Inside a chunk it depends on the chunk's earlier answers, and on
    the state before the chunk: ``u = A_ab u + A_ak v + a' S``, A strictly lower triangular. So ``u = U + W S`` with
    ``[U, W] = (1 - A_ab)^-1 [A_ak v, a']``, and the chunk maps the state by a matrix (section 3.2 of arXiv 2406.06484).
    """
    length = q_BTHK.shape[1]
    size = min(length, CHUNK) if g_BTHK.shape[-1] == 1 else CHUNK_OF_CHANNELS
    q, k, v, a = (split(x, size) for x in (q_BTHK, k_BTHK, v_BTHV, a_BTHK))
    g = split_decay(g_BTHK, size)
    b = k if b_BTHK is None else split(b_BTHK, size)
    until = g.cumsum(-2)
    end = until[..., -1:, :]
    a_start = a * (until - g).exp()  # a asks before the token's own decay, as if one token sooner
    k_end, b_end = ((x * (end - until).exp()).mT for x in (k, b))

    keys = k[..., None, :, :] if b is k else torch.stack([k, b], -3)
    scores = decayed_scores(torch.stack([q, sooner(a)], -3), keys, until)
    (qk, ak), (qb, ab) = (scores[..., key, :].unbind(-3) for key in (0, -1))
    ak, ab = later(ak), later(ab)

    one = torch.eye(size, dtype=q.dtype, device=q.device)
    solved = torch.linalg.solve_triangular(one - ab, torch.cat([ak @ v, a_start], -1), upper=False, unitriangular=True)
    U, W = solved.split([v.shape[-1], a.shape[-1]], -1)

    kept = b_end @ W + torch.diag_embed(end.exp().expand_as(a[..., :1, :]).squeeze(-2))
    before, S_BHKV = carry(kept, k_end @ v + b_end @ U, S_BHKV)
    o = qk @ v + qb @ U + (q * until.exp() + qb @ W) @ before
    return join(o, length), S_BHKV


delta_rule = Operator(
    name="delta_rule", recurrent=recurrent_delta_rule, reference=chunked_delta_rule, kernels=(fla_kernels.DELTA_RULE,)
)
dplr = Operator(name="dplr", recurrent=recurrent_dplr, reference=chunked_dplr, kernels=(fla_kernels.DPLR,))
