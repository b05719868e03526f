"""The short convolution against the reference of causal-conv1d."""

from __future__ import annotations

import pytest
from hypothesis import given

from pytest_mad.layers.ops.convolution import short_convolution
from tests.packages.comparing import assert_same
from tests.packages.drawing import Draw, draws, examples
from tests.packages.installed import load


@pytest.mark.parametrize("backend", ["recurrent", "reference"])
@given(draws())
@examples
def test_short_convolution(backend: str, draw: Draw):
    """Theirs has channels before time."""
    causal_conv1d_ref = load("causal_conv1d.causal_conv1d_interface.causal_conv1d_ref")
    channels, taps = draw.V, draw.K

    def ours(x, weight, bias, past):
        return short_convolution(x, weight, bias, past, backend=backend)

    def theirs(x, weight, bias, past):
        y_BCT, past = causal_conv1d_ref(x.mT, weight, bias, initial_states=past.mT, return_final_states=True)
        return y_BCT.mT, past[..., past.shape[-1] - taps + 1 :].mT

    x, past = draw.normal(draw.B, draw.T, channels), draw.normal(draw.B, taps - 1, channels)
    assert_same(ours, theirs, x, draw.normal(channels, taps), draw.normal(channels), past)
