"""Softmax attention: full and sliding, with one head or many."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_mad.layers.modules.checks import check_counts, check_length
from pytest_mad.layers.modules.projection import count_heads, projection
from pytest_mad.layers.modules.rotary import Rotary
from pytest_mad.layers.ops.attention import attention
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("attention", num_heads=1)
@register_layer("mh-attention", head_dim=8)
@register_layer("sliding-attention", num_heads=1, window=32)
@register_layer("mh-sliding-attention", head_dim=8, window=32)
class Attention(Mixer):
    """Causal softmax attention with rotary positions: ``y_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j``.

    Source: Vaswani et al., arXiv 1706.03762, eq. 1; configured as in MAD (arXiv 2403.17844), biases included.

    The state is the cache of rotated keys and of values. It grows with the sequence, without a window.

    Args:
        dim: width D.
        max_length: longest input.
        num_heads, head_dim: exactly one of them.
        window: number of keys that a query sees, itself included; None for all.
        rotary_dim: channels of each head that carry the position; None for the whole head, 0 for no positions.
        dropout: on the attention weights.
        causal: False lets every query see the future too (``window - 1`` keys of it).
        compat: count the window as MAD-Lab's kernel does, besides the query: ``window + 1`` keys.
        backend: "auto", "reference" or "kernel".
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
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if window is not None:
            check_counts(window=window)
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.window = window if window is None else window + compat
        self.dropout = dropout
        self.causal = causal
        self.max_length = max_length
        self.backend = check_backend(backend)
        self.qkv = projection(dim, 3 * dim, bias=True)
        self.out = projection(dim, dim, bias=True)
        width = dim // self.num_heads
        rotary_dim = width if rotary_dim is None else rotary_dim
        if rotary_dim > width:
            raise ValueError(f"rotary_dim {rotary_dim} is more than the head's {width}")
        self.rotary = Rotary(rotary_dim, max_length, 2 * self.num_heads) if rotary_dim else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``, without a cache."""
        q_BTHK, k_BTHK, v_BTHK = self._queries_keys_values(x_BTD, 0)
        return self._attend(q_BTHK, k_BTHK, v_BTHK, self.backend)

    def init_state(self, batch: int) -> State:
        if not self.causal:
            raise ValueError("attention with causal=False has no state: it sees the future")
        empty_BSHK = self._zeros(batch, 0, self.num_heads, self.out.in_features // self.num_heads)
        return {"k": empty_BSHK, "v": empty_BSHK, "position": torch.zeros((), dtype=torch.int64)}

    def state_size(self) -> int | None:
        """None without a window; with one, the floats of a cache that is full."""
        if self.window is None or not self.causal:
            return None
        full = self._zeros(1, min(self.window, self.max_length), self.out.in_features)
        with torch.no_grad():
            _, state = self._mix(full, self.init_state(1), "reference")
        return state["k"].numel() + state["v"].numel()

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        q_BTHK, k_BTHK, v_BTHK = self._queries_keys_values(x_BTD, int(state["position"]))
        k_BSHK, v_BSHK = torch.cat([state["k"], k_BTHK], 1), torch.cat([state["v"], v_BTHK], 1)
        y_BTD = self._attend(q_BTHK, k_BSHK, v_BSHK, backend)
        kept = slice(-self.window if self.window else None, None)
        return y_BTD, {"k": k_BSHK[:, kept], "v": v_BSHK[:, kept], "position": state["position"] + x_BTD.shape[1]}

    def _queries_keys_values(self, x_BTD: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x_BTD.shape
        check_length(position + length, self.max_length)
        qkv_BTHK = self.qkv(x_BTD).view(batch, length, 3 * self.num_heads, -1)
        qk_BTHK, v_BTHK = qkv_BTHK.split([2 * self.num_heads, self.num_heads], dim=2)
        q_BTHK, k_BTHK = (qk_BTHK if self.rotary is None else self.rotary(qk_BTHK, position)).chunk(2, dim=2)
        return q_BTHK, k_BTHK, v_BTHK

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        y_BTHK = attention(
            q_BTHK, k_BSHK, v_BSHK, window=self.window, causal=self.causal, dropout=dropout, backend=backend
        )
        y_BTD: Tensor = self.out(y_BTHK.flatten(2))
        return y_BTD
