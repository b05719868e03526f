"""Softmax attention: full and sliding, with one head or many."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.projection import count_heads, projection
from pytest_mad.layers.registry import register_layer
from pytest_mad.layers.rotary import Rotary

CACHED_SCORES = 2**22  # numbers of float32 in 16 MiB


@register_layer("attention", num_heads=1)
@register_layer("mh-attention", head_dim=8)
@register_layer("sliding-attention", num_heads=1, window=32)
@register_layer("mh-sliding-attention", head_dim=8, window=32)
class Attention(nn.Module):
    """Causal softmax attention with rotary positions: ``y_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j``.

    Source: Vaswani et al., arXiv 1706.03762, eq. 1; configured as in MAD (arXiv 2403.17844), biases included.

    Args:
        dim: width D.
        max_length: longest input.
        num_heads, head_dim: exactly one of them.
        window: number of keys that a query sees, itself included; None for all.
        rotary_dim: channels of each head that carry the position; None for the whole head, 0 for no positions.
        dropout: on the attention weights.
        causal: False lets every query see the future too (``window - 1`` keys of it).
        compat: count the window as MAD-Lab's kernel does, besides the query: ``window + 1`` keys.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        window: int | None = None,
        rotary_dim: int | None = None,
        dropout: float = 0.0,
        causal: bool = True,
        compat: bool = False,
    ) -> None:
        super().__init__()
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.window = window if window is None else window + compat
        self.dropout = dropout
        self.causal = causal
        self.qkv = projection(dim, 3 * dim, bias=True)
        self.out = projection(dim, dim, bias=True)
        width = dim // self.num_heads
        rotary_dim = width if rotary_dim is None else rotary_dim
        if rotary_dim > width:
            raise ValueError(f"rotary_dim {rotary_dim} is more than the head's {width}")
        self.rotary = Rotary(rotary_dim, max_length, 2 * self.num_heads) if rotary_dim else nn.Identity()

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``."""
        batch, length, dim = x_BTD.shape
        qkv_BTHK = self.qkv(x_BTD).view(batch, length, 3 * self.num_heads, -1)
        qk_BTHK, v_BTHK = qkv_BTHK.split([2 * self.num_heads, self.num_heads], dim=2)
        q_BTHK, k_BTHK = self.rotary(qk_BTHK).chunk(2, dim=2)
        y_BHTK = self._attend(q_BTHK.transpose(1, 2), k_BTHK.transpose(1, 2), v_BTHK.transpose(1, 2))
        y_BTD: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(batch, length, dim))
        return y_BTD

    def _attend(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if _written_out_is_faster(q_BHTK):
            scores_BHTT = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHTK.transpose(2, 3)
            if self.causal or self.window:
                scores_BHTT += self._bias(scores_BHTT)
            return F.dropout(scores_BHTT.softmax(-1), dropout) @ v_BHTK
        bias_TT = self._bias(q_BHTK) if self.window else None
        is_causal = self.causal and bias_TT is None
        return F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, bias_TT, dropout, is_causal)

    def _bias(self, like_BHTX: Tensor) -> Tensor:
        """(T, T): 0 where query i may see key j, else -inf. Made on the fly: cheap beside B x H matrices of scores."""
        length = like_BHTX.shape[2]
        window = self.window or length
        hidden_TT = like_BHTX.new_full((length, length), float("-inf"))
        future_TT = hidden_TT.triu(1 if self.causal else window)
        return future_TT + hidden_TT.tril(-window)


def _written_out_is_faster(q_BHTK: Tensor) -> bool:
    """On a CPU, while the scores fit in the cache, three plain operations beat the fused kernel.

    One thread, forward and backward, batch 32, heads of 8: 1.5 against 2.2 ms with 8 heads at T=32, 5.7 against 6.8 at
    T=64, 22.6 against 26.1 at T=128; with 16 heads at T=128 (32 MiB of scores) anything from 45 to 145 against 50.
    """
    batch, heads, length, _ = q_BHTK.shape
    return q_BHTK.device.type == "cpu" and batch * heads * length * length <= CACHED_SCORES
