"""Linear attention: a feature map in place of the softmax's exponential."""

from __future__ import annotations

from torch import Tensor, nn

from pytest_mad.layers.feature_maps import FeatureMap, build_feature_map
from pytest_mad.layers.projection import count_heads, projection
from pytest_mad.layers.registry import register_layer

SUM_EPS = 1e-4


@register_layer("linear-attention", num_heads=1)
@register_layer("mh-linear-attention", head_dim=8)
class LinearAttention(nn.Module):
    """Causal, normalised: ``y_i = sum_{j<=i} (phi(q_i) . phi(k_j)) v_j / (sum_{j<=i} phi(q_i) . phi(k_j) + eps)``.

    Source: Katharopoulos et al., arXiv 2006.16236, eq. 9; configured as in MAD (arXiv 2403.17844), no biases. It is
    computed through the T x T matrix, which at MAD's lengths is faster than the recurrence.

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
    ) -> None:
        super().__init__()
        self.num_heads = count_heads(dim, num_heads, head_dim)
        key_dim, value_dim = int(dim * expand_k), int(dim * expand_v)
        self.q = projection(dim, key_dim)
        self.k = projection(dim, key_dim)
        self.v = projection(dim, value_dim)
        self.out = projection(value_dim, dim)
        key_head_dim = key_dim // count_heads(key_dim, self.num_heads, None)
        count_heads(value_dim, self.num_heads, None)
        self.map_q = build_feature_map(feature_map, key_head_dim, compat)
        self.map_k = self.map_q if tie_feature_maps else build_feature_map(feature_map, key_head_dim, compat)
        self.norm_q, self.norm_k = norm_q, norm_k
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``."""
        q_BHTF = self._features(self.q(x_BTD), self.map_q, self.norm_q)
        k_BHTF = self._features(self.k(x_BTD), self.map_k, self.norm_k)
        scores_BHTT = (q_BHTF @ k_BHTF.transpose(2, 3)).tril()
        y_BHTV = scores_BHTT @ self._heads(self.v(x_BTD))
        y_BHTV = y_BHTV / (scores_BHTT.sum(-1, keepdim=True) + self.eps)
        y_BTD: Tensor = self.out(y_BHTV.transpose(1, 2).flatten(2))
        return y_BTD

    def _heads(self, x_BTC: Tensor) -> Tensor:
        batch, length, _ = x_BTC.shape
        return x_BTC.view(batch, length, self.num_heads, -1).transpose(1, 2)

    def _features(self, x_BTC: Tensor, feature_map: FeatureMap, norm: bool) -> Tensor:
        phi_BHTF: Tensor = feature_map(self._heads(x_BTC))
        return phi_BHTF / (phi_BHTF.sum(-1, keepdim=True) + SUM_EPS) if norm else phi_BHTF
