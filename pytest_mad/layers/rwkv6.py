"""RWKV-6, called Finch: RWKV-5 with decays and mixtures that depend on the token."""

from __future__ import annotations

from torch import Tensor, nn

from pytest_mad.layers.modules.checks import check_counts
from pytest_mad.layers.modules.rwkv_parts import LowRank, blend, near_zero, present_shares
from pytest_mad.layers.ops.operator import Backend

from .registry import register_layer
from .rwkv5 import RWKV5ChannelMixer, RWKV5TimeMixer


@register_layer("rwkv6-time-mixer", head_dim=16)
class RWKV6TimeMixer(RWKV5TimeMixer):
    """`RWKV5TimeMixer` with a decay w_t of its own for every token, and mixtures ``x_t + s_t (.) (x_{t-1} - x_t)``.

    The shares are ``s_t = mu + tanh(z_t W_1) W_2``, one for each of r, k, v, g and the decay, where z_t is a mixture
    with a learned share; and ``w_t = exp(-exp(d + tanh(x W_1) W_2))`` of the fifth mixture x.

    Source: Peng et al., Eagle and Finch, arXiv 2404.05892, section 4.2; configured as in MAD (arXiv 2403.17844).
    MAD-Lab's is compiled for one length, this one takes any.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        mix_low_rank: rank of the map to each of the five shares.
        decay_low_rank: rank of the map to the decay.
        backend: "auto", "reference" or "kernel".
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        mix_low_rank: int = 32,
        decay_low_rank: int = 64,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(dim, max_length, num_heads=num_heads, head_dim=head_dim, backend=backend)
        self.mu_z_D = nn.Parameter(1 - present_shares(dim, (1,))[0])
        self.mu_CD = nn.Parameter(1 - present_shares(dim, (0.5, 1, 1, 0.5, 1)))  # r, k, v, g, w
        check_counts(mix_low_rank=mix_low_rank, decay_low_rank=decay_low_rank)
        self.mix_down_DR = nn.Parameter(near_zero(dim, 5 * mix_low_rank))
        self.mix_up_5RD = nn.Parameter(near_zero(5, mix_low_rank, dim))
        self.decay = LowRank(dim, decay_low_rank)

    def _shift(self, x_BTD: Tensor, previous_BTD: Tensor) -> list[Tensor]:
        (z_BTD,) = blend(x_BTD, previous_BTD, [self.mu_z_D])
        inner = (z_BTD @ self.mix_down_DR).tanh().chunk(5, -1)
        shares = [mu + x @ up for mu, x, up in zip(self.mu_CD, inner, self.mix_up_5RD, strict=True)]
        *mixed, w_BTD = blend(x_BTD, previous_BTD, shares)
        return [*mixed, self.decay_D + self.decay(w_BTD)]


@register_layer("rwkv6-channel-mixer")
class RWKV6ChannelMixer(RWKV5ChannelMixer):
    """`RWKV5ChannelMixer`, except that ``mu`` is the share of x_{t-1}.

    The same function of the input, but weight decay draws it to the present token, not to the previous one.

    Args:
        dim: width D.
        max_length: longest input; this layer does not need it.
        dim_inner: inner width; None for 4 dim.
    """

    def __init__(self, dim: int, max_length: int, *, dim_inner: int | None = None) -> None:
        super().__init__(dim, max_length, dim_inner=dim_inner)
        self.mu_CD = nn.Parameter(1 - present_shares(dim, (1, 1)))

    def _shift(self, x_BTD: Tensor, previous_BTD: Tensor) -> list[Tensor]:
        return blend(x_BTD, previous_BTD, self.mu_CD)
