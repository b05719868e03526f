"""Hyena: gates around a convolution that is as long as the input. With channels, with heads, and with experts."""

from __future__ import annotations

from torch import Tensor

from pytest_mad.layers.modules.checks import check_counts, check_length
from pytest_mad.layers.modules.implicit_filter import ImplicitFilter
from pytest_mad.layers.modules.projection import count_heads, projection, split_heads
from pytest_mad.layers.modules.router import Router
from pytest_mad.layers.modules.short_convolution import ShortConvolution
from pytest_mad.layers.ops.long_convolution import long_convolution, long_convolution_of_pairs
from pytest_mad.layers.ops.operator import Backend, check_backend

from .mixer import Mixer, State
from .registry import register_layer


class _Hyena(Mixer):
    """What the three share: projections that pass a short convolution, implicit filters, and a state that grows.

    The state is all that the long convolution has read, since each later output reads it again. A state of a fixed size
    there is only after distillation, for filters that are close to a sum of few exponentials (arXiv 2310.18780).
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        channels: int,
        num_filters: int,
        filter_order: int,
        proj_groups: int,
        conv_width: int,
        backend: Backend,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, filter_order=filter_order, proj_groups=proj_groups)
        if 3 * channels % proj_groups:
            raise ValueError(f"three times {channels} channels are not divisible by proj_groups {proj_groups}")
        self.channels = channels
        self.max_length = max_length
        self.proj_groups = proj_groups
        self.backend = check_backend(backend)
        self.project = projection(dim, 3 * channels // proj_groups, bias=True)
        self.conv = ShortConvolution(3 * channels, conv_width, bias=True)
        self.filter = ImplicitFilter(num_filters, filter_order, max_length)

    def state_size(self) -> None:
        """None: all inputs of the convolution are kept."""

    def init_state(self, batch: int) -> State:
        return {"conv": self.conv.init_state(batch), "u": self._zeros(batch, 0, self.channels)}

    def _gated_convolution(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        """``(B, T, D) -> (B, T, C)``."""
        h_SC = self._filter(x_BTD, state["u"])
        gate_BTC, x_BTC, v_BTC, past_BPC = self._branches(x_BTD, state["conv"], backend)
        y_BTC, u_BSC = long_convolution(v_BTC * x_BTC, h_SC, state["u"], backend=backend)
        return gate_BTC * y_BTC, {"conv": past_BPC, "u": u_BSC}

    def _branches(self, x_BTD: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Three times ``(B, T, C)``, and the past for what comes next. Groups differ by their short filters only."""
        backend = "auto" if backend == "kernel" else backend  # the kernel is asked of the long convolution
        tiled_BTC = self.project(x_BTD).repeat(1, 1, self.proj_groups)
        xxv_BTC, past_BPC = self.conv(tiled_BTC, past_BPC, backend)
        first_BTC, second_BTC, third_BTC = xxv_BTC.chunk(3, -1)
        return first_BTC, second_BTC, third_BTC, past_BPC

    def _filter(self, x_BTD: Tensor, past_BP: Tensor) -> Tensor:
        length = past_BP.shape[1] + x_BTD.shape[1]
        check_length(length, self.max_length)
        h_SC: Tensor = self.filter(length)
        return h_SC


@register_layer("hyena", inner_factor=4, proj_groups=4, filter_order=4)
class Hyena(_Hyena):
    """``y = W_o (x0 (.) (h * (x1 (.) v)))``, with one long filter h per channel, which contains a skip.

    x0, x1 and v are projections that pass a short convolution. Each projected channel serves in ``proj_groups`` places.

    The state is all inputs of the long convolution: it grows with the sequence, see `state_size`.

    Source: Poli et al., Hyena Hierarchy, arXiv 2302.10866, definition 3.1 with order 2; configured as in MAD (arXiv
    2403.17844).

    Args:
        dim: width D.
        max_length: longest input; the filters are defined up to it, relative to it.
        inner_factor: channels of each of x0, x1 and v, as a multiple of ``dim``.
        proj_groups: how often the projections are repeated along the channels.
        conv_width: taps of the short convolution.
        filter_order: width of the network that makes the filters.
        backend: "auto" or "reference"; for "kernel" there is none.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        inner_factor: int = 4,
        proj_groups: int = 4,
        conv_width: int = 3,
        filter_order: int = 4,
        backend: Backend = "auto",
    ) -> None:
        check_counts(inner_factor=inner_factor)
        super().__init__(
            dim,
            max_length,
            channels=inner_factor * dim,
            num_filters=inner_factor * dim,
            filter_order=filter_order,
            proj_groups=proj_groups,
            conv_width=conv_width,
            backend=backend,
        )
        self.out = projection(inner_factor * dim, dim, bias=True)

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        y_BTC, state = self._gated_convolution(x_BTD, state, backend)
        return self.out(y_BTC), state


@register_layer("mh-hyena", head_dim=16, proj_groups=4, filter_order=2)
class MultiHeadHyena(_Hyena):
    """``y_t = W_o (q_t sum_{s<=t} h_{t-s} v_s^T x_s)``, with one long filter h per head, which contains a skip.

    q, x and v are projections that pass a short convolution, in heads of width K. A head's filter runs over all K x K
    products of a channel of v and one of x, where Hyena has one product per channel: so it can store associations.

    The state is all x and v: it grows with the sequence, see `state_size`.

    Source: Massaroli et al., Laughing Hyena Distillery, arXiv 2310.18780, section 4; configured as in MAD (arXiv
    2403.17844), whose ``num_heads: 16`` is the width of a head.

    Args:
        dim: width D.
        max_length: longest input; the filters are defined up to it, relative to it.
        num_heads, head_dim: exactly one of them; the heads divide ``dim``.
        proj_groups: how often the projections are repeated along the channels.
        conv_width: taps of the short convolution.
        filter_order: width of the network that makes the filters.
        backend: "auto" or "reference"; for "kernel" there is none.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        proj_groups: int = 4,
        conv_width: int = 3,
        filter_order: int = 2,
        backend: Backend = "auto",
    ) -> None:
        heads = count_heads(dim, num_heads, head_dim)
        super().__init__(
            dim,
            max_length,
            channels=dim,
            num_filters=heads,
            filter_order=filter_order,
            proj_groups=proj_groups,
            conv_width=conv_width,
            backend=backend,
        )
        self.num_heads = heads
        self.out = projection(dim, dim, bias=True)

    def init_state(self, batch: int) -> State:
        empty_BPHK = self._zeros(batch, 0, self.num_heads, self.channels // self.num_heads)
        return {"conv": self.conv.init_state(batch), "v": empty_BPHK, "x": empty_BPHK}

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        h_SH = self._filter(x_BTD, state["v"])
        *branches, past_BPC = self._branches(x_BTD, state["conv"], backend)
        q_BTHK, x_BTHK, v_BTHK = (split_heads(branch, self.num_heads) for branch in branches)
        y_BTHK, (v_BSHK, x_BSHK) = long_convolution_of_pairs(
            q_BTHK, v_BTHK, x_BTHK, h_SH, state["v"], state["x"], backend=backend
        )
        return self.out(y_BTHK.flatten(2)), {"conv": past_BPC, "v": v_BSHK, "x": x_BSHK}


@register_layer("hyena-experts", dim_inner=16, num_experts=8, active_experts=2, filter_order=16)
class HyenaExperts(_Hyena):
    """``y = W_o sum_e p_e z_e`` with ``z = x0 (.) (h * (x1 (.) v))``, p the softmax over the router's best scores.

    One Hyena whose channels are those of all experts: the router weighs outputs, it saves no computation.

    The state is all inputs of the long convolution: it grows with the sequence, see `state_size`.

    Source: MAD, arXiv 2403.17844, on Poli et al., Hyena Hierarchy, arXiv 2302.10866, definition 3.1 with order 2.

    Args:
        dim: width D.
        max_length: longest input; the filters are defined up to it, relative to it.
        dim_inner: channels of one expert.
        num_experts: E.
        active_experts: experts with a weight other than zero at one position.
        conv_width: taps of the short convolution.
        filter_order: width of the network that makes the filters.
        compat: MAD-Lab's router, which sets the other scores to 0 instead of minus infinity, so all experts are active.
        backend: "auto" or "reference"; for "kernel" there is none.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        *,
        dim_inner: int = 16,
        num_experts: int = 8,
        active_experts: int = 2,
        conv_width: int = 3,
        filter_order: int = 16,
        compat: bool = False,
        backend: Backend = "auto",
    ) -> None:
        check_counts(dim_inner=dim_inner, num_experts=num_experts)
        super().__init__(
            dim,
            max_length,
            channels=dim_inner * num_experts,
            num_filters=dim_inner * num_experts,
            filter_order=filter_order,
            proj_groups=1,
            conv_width=conv_width,
            backend=backend,
        )
        self.router = Router(dim, num_experts, active_experts, compat=compat)
        self.out = projection(dim_inner, dim, bias=True)

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        y_BTC, state = self._gated_convolution(x_BTD, state, backend)
        weights_BTE = self.router.weights(x_BTD)
        z_BTIE = split_heads(y_BTC, self.out.in_features)  # channel c is of expert c mod E
        return self.out((z_BTIE @ weights_BTE[..., None]).squeeze(-1)), state
