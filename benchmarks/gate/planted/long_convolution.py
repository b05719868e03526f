"""Hyena with one thing changed."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_mad.layers.hyena import Hyena
from pytest_mad.layers.mixer import State
from pytest_mad.layers.modules.implicit_filter import ImplicitFilter
from pytest_mad.layers.ops.long_convolution import long_convolution
from pytest_mad.layers.ops.operator import Backend


class Long(Hyena):
    """As the equation has it, with everything in reach."""

    def _gated_convolution(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        h_SC = self.filters(self._filter(x_BTD, state["u"]))
        gate_BTC, x_BTC, v_BTC, past_BPC = self._branches(x_BTD, state["conv"], backend)
        y_BTC, u_BSC = self.convolved(self.inner(v_BTC, x_BTC), h_SC, state["u"], backend)
        return self.outer(gate_BTC, y_BTC), {"conv": past_BPC, "u": u_BSC}

    def filters(self, h_SC: Tensor) -> Tensor:
        return h_SC

    def convolved(self, u_BTC: Tensor, h_SC: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        y_BTC, u_BSC = long_convolution(u_BTC, h_SC, past_BPC, backend=backend)
        return y_BTC, u_BSC

    def inner(self, v_BTC: Tensor, x_BTC: Tensor) -> Tensor:
        return v_BTC * x_BTC

    def outer(self, gate_BTC: Tensor, y_BTC: Tensor) -> Tensor:
        return gate_BTC * y_BTC


class TokenByToken(Long):
    """By sums instead of FFT."""

    def convolved(self, u_BTC: Tensor, h_SC: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        return super().convolved(u_BTC, h_SC, past_BPC, "recurrent")


class BranchesTradePlaces(Long):
    """A relabelling: what is gate and what is gated begins with the other's weights."""

    def _branches(self, x_BTD: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first_BTC, second_BTC, third_BTC, past_BPC = super()._branches(x_BTD, past_BPC, backend)
        return third_BTC, first_BTC, second_BTC, past_BPC


class WrapsAround(Long):
    """No zeros behind the input: the end of the convolution comes out at its beginning."""

    def convolved(self, u_BTC: Tensor, h_SC: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        u_BSC = torch.cat([past_BPC, u_BTC], 1)
        product = torch.fft.rfft(u_BSC, dim=1) * torch.fft.rfft(h_SC, dim=0)
        return torch.fft.irfft(product, len(h_SC), dim=1)[:, past_BPC.shape[1] :], u_BSC


class ReadBackwards(Long):
    """Lag 0 has the filter's last value; the length of the input decides which that is."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return h_SC.flip(0)


class FilterOneLate(Long):
    """Each input counts from the next position on."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(h_SC[:1]), h_SC[:-1]])


class FirstLagsOnly(Long):
    """Cut after eight lags."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return torch.cat([h_SC[:8], torch.zeros_like(h_SC[8:])])


class DetachedFilters(Long):
    def filters(self, h_SC: Tensor) -> Tensor:
        return h_SC.detach()


class OneFilter(Long):
    """The mean of all filters, for every channel."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return h_SC.mean(1, keepdim=True).expand_as(h_SC)


class DividedByLength(Long):
    """The FFT's normalisation is applied twice."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return h_SC / self.max_length


class WithoutSkip(Long):
    """The filter without the input's own term."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return torch.cat([h_SC[:1] - self.filter.skip_C, h_SC[1:]])


class SkipAtEveryLag(Long):
    """The input's own term is added at all lags."""

    def filters(self, h_SC: Tensor) -> Tensor:
        return torch.cat([h_SC[:1], h_SC[1:] + self.filter.skip_C])


class InnerGateLeftOut(Long):
    def inner(self, v_BTC: Tensor, x_BTC: Tensor) -> Tensor:
        return v_BTC


class InnerGateAdded(Long):
    def inner(self, v_BTC: Tensor, x_BTC: Tensor) -> Tensor:
        return v_BTC + x_BTC


class OuterGateAdded(Long):
    def outer(self, gate_BTC: Tensor, y_BTC: Tensor) -> Tensor:
        return gate_BTC + y_BTC


class NoShortConvolution(Long):
    """The branches are not convolved."""

    def _branches(self, x_BTD: Tensor, past_BPC: Tensor, backend: Backend) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first_BTC, second_BTC, third_BTC = self.project(x_BTD).repeat(1, 1, self.proj_groups).chunk(3, -1)
        return first_BTC, second_BTC, third_BTC, past_BPC


class NoDecay(ImplicitFilter):
    """The window over the filter is left out."""

    def forward(self, length: int) -> Tensor:
        x_TF = self.z_TF[:length]
        for linear in self.hidden:
            x_TF = torch.sin(self.frequency * linear(x_TF))
        h_TC: Tensor = self.out(x_TF)
        return torch.cat([h_TC[:1] + self.skip_C, h_TC[1:]])


class NoSines(ImplicitFilter):
    """The filter's network has no activation: every filter is a straight line under its window."""

    def forward(self, length: int) -> Tensor:
        x_TF = self.z_TF[:length]
        for linear in self.hidden:
            x_TF = self.frequency * linear(x_TF)
        h_TC = self.out(x_TF) * self.decay_TC[:length]
        return torch.cat([h_TC[:1] + self.skip_C, h_TC[1:]])
