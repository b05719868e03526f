"""Linear attention: a feature map in place of the softmax's exponential."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_mad.layers.modules.feature_maps import FeatureMap, build_feature_map
from pytest_mad.layers.modules.projection import count_heads, expanded, projection, split_heads
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer

SUM_EPS = 1e-4


@register_layer("linear-attention", num_heads=1)
@register_layer("mh-linear-attention", head_dim=8)
class LinearAttention(Mixer):
    """Causal, normalised: ``y_i = sum_{j<=i} (phi(q_i) . phi(k_j)) v_j / (sum_{j<=i} phi(q_i) . phi(k_j) + eps)``.

    Source: Katharopoulos et al., arXiv 2006.16236, eq. 9; configured as in MAD (arXiv 2403.17844), no biases.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        feature_map: a name in `feature_maps.FEATURE_MAPS`.
        expand_k, expand_v: widths of all keys and of all values, as multiples of ``dim``.
        tie_feature_maps: one map for queries and keys instead of two.
        norm_q, norm_k: divide phi(q), phi(k) by its sum (plus 1e-4).
        eps: keeps the normaliser from zero.
        compat: MAD-Lab's form of the feature map where it differs.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        feature_map: str = "elementwise_product",
        expand_k: float = 1,
        expand_v: float = 1,
        tie_feature_maps: bool = False,
        norm_q: bool = False,
        norm_k: bool = False,
        eps: float = 1e-12,
        compat: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        key_dim = expanded(dim, self.num_heads, expand_k=expand_k)
        value_dim = expanded(dim, self.num_heads, expand_v=expand_v)
        self.q = projection(dim, key_dim)
        self.k = projection(dim, key_dim)
        self.v = projection(dim, value_dim)
        self.out = projection(value_dim, dim)
        key_head_dim = key_dim // self.num_heads
        self.value_head_dim = value_dim // self.num_heads
        self.map_q = build_feature_map(feature_map, key_head_dim, compat)
        self.map_k = self.map_q if tie_feature_maps else build_feature_map(feature_map, key_head_dim, compat)
        self.norm_q, self.norm_k = norm_q, norm_k
        self.eps = eps
        self.backend = check_backend(backend)

    def init_state(self, batch: int) -> State:
        return {"S": self._zeros(batch, self.num_heads, self.map_k.feature_dim, self.value_head_dim + 1)}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        q_BTHF = self._features(self.q(x_BTD), self.map_q, self.norm_q)
        k_BTHF = self._features(self.k(x_BTD), self.map_k, self.norm_k)
        v_BTHV = split_heads(self.v(x_BTD), self.num_heads)
        # the normaliser is what one more value, always 1, adds up to
        v_BTHV = torch.cat([v_BTHV, torch.ones_like(v_BTHV[..., :1])], -1)
        if backend == "auto" and not self.map_q.is_positive:
            backend = "reference"  # near a vanishing normaliser, what a kernel rounds would be all there is
        o_BTHV, S_BHFV = gla(q_BTHF, k_BTHF, v_BTHV, None, None, state["S"], backend=backend)
        y_BTHV, norm_BTH1 = o_BTHV.split([self.value_head_dim, 1], -1)
        return self.out((y_BTHV / (norm_BTH1 + self.eps)).flatten(2)), {"S": S_BHFV}

    def _features(self, x_BTC: Tensor, feature_map: FeatureMap, norm: bool) -> Tensor:
        phi_BTHF: Tensor = feature_map(split_heads(x_BTC, self.num_heads))
        return phi_BTHF / (phi_BTHF.sum(-1, keepdim=True) + SUM_EPS) if norm else phi_BTHF
