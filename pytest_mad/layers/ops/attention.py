"""Softmax attention over given keys."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from . import flash_kernels
from .operator import Operator

CACHED_SCORES = 2**22  # numbers of float32 in 16 MiB
VECTOR = 16  # numbers of float32 in the widest register


def attend(
    q_BTHK: Tensor,
    k_BSHK: Tensor,
    v_BSHV: Tensor,
    *,
    window: int | None = None,
    causal: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    """``o_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j``, ``(B, T, H, V)``; the last T keys are the queries' own.

    Source: Vaswani et al., arXiv 1706.03762, eq. 1.

    Args:
        q_BTHK, k_BSHK, v_BSHV: queries, keys and values.
        window: number of keys that a query sees, its own included; None for all.
        causal: False lets every query see the future too (``window - 1`` keys of it).
        dropout: on the attention weights.
    """
    q_BHTK, k_BHSK, v_BHSV = (x.transpose(1, 2) for x in (q_BTHK, k_BSHK, v_BSHV))
    if _written_out_is_faster(q_BHTK, k_BHSK):
        scores_BHTS = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHSK.transpose(2, 3)
        if causal or window:
            scores_BHTS += _bias(q_BHTK, k_BHSK.shape[2], window, causal)
        return (F.dropout(scores_BHTS.softmax(-1), dropout) @ v_BHSV).transpose(1, 2)
    plain = window is None and (not causal or q_BHTK.shape[2] == k_BHSK.shape[2])
    if plain and causal and not dropout and q_BHTK.device.type == "cpu":
        return _attend_in_whole_rows(q_BHTK, k_BHSK, v_BHSV).transpose(1, 2)
    bias_TS = None if plain else _bias(q_BHTK, k_BHSK.shape[2], window, causal)
    return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSV, bias_TS, dropout, plain and causal).transpose(1, 2)


def _attend_in_whole_rows(q_BHTK: Tensor, k_BHTK: Tensor, v_BHTV: Tensor) -> Tensor:
    """Causal attention by torch's kernel for CPUs, whose scores then lie in rows of whole vectors.

    No query sees the keys behind the end. One thread, batch 32, 4 heads of 16, forward and backward: 23 ms at T=191
    and 20 at T=192.
    """
    length = q_BHTK.shape[2]
    more = -length % VECTOR
    if 8 * more > length:
        more = 0
    q_BHSK, k_BHSK, v_BHSV = (F.pad(x, (0, 0, 0, more)) if more else x for x in (q_BHTK, k_BHTK, v_BHTV))
    return F.scaled_dot_product_attention(q_BHSK, k_BHSK, v_BHSV, is_causal=True)[:, :, :length]


def _bias(q_BHTK: Tensor, keys: int, window: int | None, causal: bool) -> Tensor:
    """(T, S): 0 where query i may see key j, else -inf. Made on the fly: cheap beside B x H matrices of scores."""
    length = q_BHTK.shape[2]
    past = keys - length
    hidden_TS = q_BHTK.new_full((length, keys), float("-inf"))
    future_TS = hidden_TS.triu(past + (1 if causal else window or keys))
    return future_TS if window is None else future_TS + hidden_TS.tril(past - window)


def _written_out_is_faster(q_BHTK: Tensor, k_BHSK: Tensor) -> bool:
    """On a CPU, while the scores fit in the cache, three plain operations beat the fused kernel.

    One thread, forward and backward, batch 32, heads of 8: 1.5 against 2.2 ms with 8 heads at T=32, 5.7 against 6.8 at
    T=64, 22.6 against 26.1 at T=128; with 16 heads at T=128 (32 MiB of scores) anything from 45 to 145 against 50.
    """
    batch, heads, length, _ = q_BHTK.shape
    return q_BHTK.device.type == "cpu" and batch * heads * length * k_BHSK.shape[2] <= CACHED_SCORES


attention = Operator(
    name="attention", recurrent=attend, reference=attend, kernels=(flash_kernels.FLASH_ATTENTION,), wide=False
)
