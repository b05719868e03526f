"""The operators by flash-linear-attention, in Triton.

Its functions take ``(B, T, H, K)`` tensors of one dtype, logarithms of decay, and states in float32. What scales a
query, 1 / sqrt(K) by default, is 1 here: our queries come scaled.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .kernel import Kernel

OPS = "fla.ops"
PACKAGE = "flash-linear-attention"
WIDEST_KEY = 256  # of the delta rule's kernels, which hold a whole key in registers


def gla(
    ops: Any,
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    g_BTHK: Tensor | None,
    bonus_HK: Tensor | None,
    S_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    """A function for each kind of decay: with a bonus it is RWKV-6's, with one decay per head Mamba-2's."""
    qkv = _alike(q_BTHK, k_BTHK, v_BTHV)
    if bonus_HK is not None:
        g_BTHK = torch.zeros_like(q_BTHK[..., :1]) if g_BTHK is None else g_BTHK
        result = ops.chunk_rwkv6(*qkv, _of_channels(g_BTHK, q_BTHK), bonus_HK.float(), **_from(S_BHKV))
    elif g_BTHK is None:
        result = ops.chunk_simple_gla(*qkv, **_from(S_BHKV))
    elif g_BTHK.shape[-1] == 1:
        result = ops.chunk_simple_gla(*qkv, _of_heads(g_BTHK), **_from(S_BHKV))
    else:
        result = ops.chunk_gla(*qkv, g_BTHK.float(), **_from(S_BHKV))
    return _pair(result)


def delta_rule(
    ops: Any,
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    g_BTHK: Tensor | None,
    S_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    """DeltaNet's, Gated DeltaNet's or KDA's function. The first refuses float32, the second does it with no decay."""
    qkv, beta_BTH = _alike(q_BTHK, k_BTHK, v_BTHV), beta_BTH.to(q_BTHK.dtype)
    if g_BTHK is None and q_BTHK.dtype != torch.float32:
        return _pair(ops.chunk_delta_rule(*qkv, beta_BTH, **_from(S_BHKV)))
    g_BTHK = torch.zeros_like(q_BTHK[..., :1]) if g_BTHK is None else g_BTHK
    if g_BTHK.shape[-1] == 1:
        return _pair(ops.chunk_gated_delta_rule(*qkv, g=_of_heads(g_BTHK), beta=beta_BTH, **_from(S_BHKV)))
    return _pair(ops.chunk_kda(*qkv, g=g_BTHK.float(), beta=beta_BTH, **_from(S_BHKV)))


def dplr(
    ops: Any,
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
    """It needs no bound of the decays."""
    q, k, v, a, b = _alike(q_BTHK, k_BTHK, v_BTHV, a_BTHK, k_BTHK if b_BTHK is None else b_BTHK)
    return _pair(ops.chunk_dplr_delta_rule(q, k, v, a, b, _of_channels(g_BTHK, q), **_from(S_BHKV)))


def gsa(
    ops: Any,
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    s_BTHM: Tensor,
    g_BTHM: Tensor,
    K_BHKM: Tensor,
    V_BHMV: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    qkvs = _alike(q_BTHK, k_BTHK, v_BTHV, s_BTHM)
    states = {"initial_state": (K_BHKM.float(), V_BHMV.float()), "output_final_state": True}
    o_BTHV, (K_BHKM, V_BHMV) = ops.chunk_gsa(*qkvs, g_BTHM.float(), scale=1.0, **states)
    return o_BTHV, (K_BHKM, V_BHMV)


def ssd(
    ops: Any, x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTGN: Tensor, C_BTGN: Tensor, S_BHNP: Tensor
) -> tuple[Tensor, Tensor]:
    """As gated linear attention with one decay per head. Products with dt in float32, which it is precise in."""
    heads = len(A_H) // B_BTGN.shape[2]
    C_BTHN, B_BTHN = (part.to(x_BTHP.dtype).repeat_interleave(heads, dim=2) for part in (C_BTGN, B_BTGN))
    dt_BTH1 = dt_BTH.float()[..., None]
    v_BTHP, g_BTH1 = (dt_BTH1 * x_BTHP).to(x_BTHP.dtype), dt_BTH1 * A_H.float()[:, None]
    return gla(ops, C_BTHN, B_BTHN, v_BTHP, g_BTH1, None, S_BHNP)


def _from(S_BHKV: Tensor) -> dict[str, Any]:
    return {"scale": 1.0, "initial_state": S_BHKV.float(), "output_final_state": True}


def _alike(first: Tensor, *others: Tensor) -> list[Tensor]:
    return [first, *(other.to(first.dtype) for other in others)]


def _of_heads(g_BTH1: Tensor) -> Tensor:
    return g_BTH1.squeeze(-1).float()


def _of_channels(g_BTHK: Tensor, q_BTHK: Tensor) -> Tensor:
    return g_BTHK.float().expand_as(q_BTHK).contiguous()


def _pair(result: Any) -> tuple[Tensor, Tensor]:
    output, state = result
    return output, state


def _is_too_wide(q_BTHK: Tensor, *tensors: Tensor | None) -> str | None:
    width = q_BTHK.shape[-1]
    return f"takes keys of up to {WIDEST_KEY} channels, not {width}" if width > WIDEST_KEY else None


GLA = Kernel(name="fla.ops.gla", package=PACKAGE, module=OPS, run=gla)
DELTA_RULE = Kernel(name="fla.ops.delta_rule", package=PACKAGE, module=OPS, run=delta_rule, refuses=_is_too_wide)
DPLR = Kernel(
    name="fla.ops.generalized_delta_rule",
    package=PACKAGE,
    module=OPS,
    run=dplr,
    dtypes=(torch.bfloat16, torch.float16),  # its authors warn of float32
    refuses=_is_too_wide,
)
GSA = Kernel(name="fla.ops.gsa", package=PACKAGE, module=OPS, run=gsa)
SSD = Kernel(name="fla.ops.simple_gla", package=PACKAGE, module=OPS, run=ssd)
