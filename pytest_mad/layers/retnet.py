"""Retention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.modules.projection import count_heads, expanded, projection, split_heads
from pytest_mad.layers.modules.rotary import angle_tables, rotate
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


@register_layer("retnet", head_dim=16)
class RetNet(Mixer):
    """``S_t = gamma_h S_{t-1} + k_t^T v_t`` and ``y_t = W_o (silu(W_g x_t) (.) norm(q_t S_t / sqrt(K)))``.

    The decay is fixed, ``gamma_h = 1 - 2^(-5 - h)`` in head h; q and k are rotated by their position.

    Source: Sun et al., Retentive Network, arXiv 2307.08621, eq. 5-8, with RMSNorm for GroupNorm.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        expand_v: width of all values, as a multiple of ``dim``; 2 in the paper, 1 for a state of MAD's size.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        expand_v: float = 1,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        self.key_head_dim = dim // self.num_heads
        if self.key_head_dim % 2:
            raise ValueError(f"retnet rotates pairs of channels, not heads of {self.key_head_dim}: change num_heads")
        self.value_dim = expanded(dim, self.num_heads, expand_v=expand_v)
        self.value_head_dim = self.value_dim // self.num_heads
        self.backend = check_backend(backend)
        self.qk = projection(dim, 2 * dim)
        self.v = projection(dim, self.value_dim)
        self.gate = projection(dim, self.value_dim)
        self.norm = RMSNorm(self.value_head_dim)
        self.out = projection(self.value_dim, dim)
        self.log_decay_H: Tensor
        decay_H = 1 - 2.0 ** (-5 - torch.arange(self.num_heads, dtype=torch.float64))
        self.register_buffer("log_decay_H", decay_H.log().float(), persistent=False)

    def init_state(self, batch: int) -> State:
        S_BHKV = self._zeros(batch, self.num_heads, self.key_head_dim, self.value_head_dim)
        return {"S": S_BHKV, "position": torch.zeros((), dtype=torch.int64, device=S_BHKV.device)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        batch, length, _ = x_BTD.shape
        position_T = state["position"] + torch.arange(length, device=x_BTD.device)
        qk_BTHK = split_heads(self.qk(x_BTD), 2 * self.num_heads)
        cos_T1K, sin_T1K = (table.to(qk_BTHK.dtype) for table in angle_tables(position_T, self.key_head_dim))
        q_BTHK, k_BTHK = rotate(qk_BTHK, cos_T1K, sin_T1K).chunk(2, dim=2)
        v_BTHV = split_heads(self.v(x_BTD), self.num_heads)
        g_BTH1 = self.log_decay_H[:, None].expand(batch, length, -1, -1)
        o_BTHV, S_BHKV = gla(
            q_BTHK * self.key_head_dim**-0.5, k_BTHK, v_BTHV, g_BTH1, None, state["S"], backend=backend
        )
        y_BTD = self.out(self.norm(o_BTHV).flatten(2) * F.silu(self.gate(x_BTD)))
        return y_BTD, {"S": S_BHKV, "position": state["position"] + length}
