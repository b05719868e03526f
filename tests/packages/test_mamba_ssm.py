"""Operators and layers against mamba-ssm."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.layers import build_layer
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.ops.ssd import ssd
from tests.packages.comparing import assert_same
from tests.packages.drawing import Draw, draws, examples, few_examples
from tests.packages.installed import load
from tests.packages.mamba_names import MAMBA, mamba_2
from tests.packages.twins import assert_twins

BACKENDS = pytest.mark.parametrize("backend", ["recurrent", "reference"])


@BACKENDS
@given(draws())
@examples
def test_selective_scan(backend: str, draw: Draw):
    """Theirs has channels before time, and always begins with an empty state."""
    selective_scan_ref = load("mamba_ssm.ops.selective_scan_interface.selective_scan_ref")
    channels, modes = draw.V, draw.K

    def ours(x, dt, A, B, C):
        return selective_scan(x, dt, A, B, C, torch.zeros(draw.B, channels, modes), backend=backend)

    def theirs(x, dt, A, B, C):
        y_BCT, state = selective_scan_ref(x.mT, dt.mT, A, B.mT, C.mT, return_last_state=True)
        return y_BCT.mT, state

    x, dt = draw.normal(draw.B, draw.T, channels), F.softplus(draw.normal(draw.B, draw.T, channels))
    A = -draw.decay * draw.uniform(channels, modes)
    B, C = draw.normal(2, draw.B, draw.T, modes)
    assert_same(ours, theirs, x, dt, A, B, C)


@BACKENDS
@given(draws(), st.booleans())
@examples
def test_state_space_duality(backend: str, draw: Draw, shared: bool):
    """In double precision: the gradient of A is a sum over all tokens of numbers that are much larger than it."""
    ssd_minimal_discrete = load("mamba_ssm.modules.ssd_minimal.ssd_minimal_discrete")

    def ours(C, B, x, dt, A, S):
        return ssd(x, dt, A, B, C, S, backend=backend)

    def theirs(C, B, x, dt, A, S):
        C, B = (part.expand(-1, -1, draw.H, -1) for part in (C, B))
        y, state = ssd_minimal_discrete(x * dt[..., None], A * dt, B, C, draw.T, S.mT[:, None])
        return y, state.mT

    groups = 1 if shared else draw.H
    C, B = draw.normal(2, draw.B, draw.T, groups, draw.K)
    x, dt = draw.normal(draw.B, draw.T, draw.H, draw.V), F.softplus(draw.normal(draw.B, draw.T, draw.H))
    A = -draw.decay * draw.uniform(draw.H)
    assert_same(ours, theirs, *(part.double() for part in (C, B, x, dt, A, draw.state())))


@given(draws(widths=st.sampled_from([8, 16])))
@examples
def test_mamba(draw: Draw):
    """The authors' layer, with their reference in place of their kernel."""
    module = load("mamba_ssm.modules.mamba_simple")
    reference = load("mamba_ssm.ops.selective_scan_interface.selective_scan_ref")
    dim = draw.H * draw.K
    ours = build_layer("mamba", dim, draw.T, state_dim=5, dt_rank=3)
    theirs = module.Mamba(dim, d_state=5, dt_rank=3)
    with mock.patch.multiple(module, causal_conv1d_fn=None, selective_scan_fn=reference):
        assert_twins(ours, theirs, MAMBA, draw.normal(draw.B, draw.T, dim))


@given(draws(longest=24, widths=st.sampled_from([8, 16])))
@few_examples
def test_mamba_2(draw: Draw):
    """The authors' layer, whose kernel is interpreted."""
    module = load("mamba_ssm.modules.mamba2")
    dim = draw.H * draw.K
    ours = build_layer("mamba2", dim, draw.T, head_dim=draw.K, state_dim=16)
    theirs = module.Mamba2(dim, headdim=draw.K, d_state=16, chunk_size=16, use_mem_eff_path=False)
    with mock.patch.multiple(module, causal_conv1d_fn=None):
        assert_twins(ours, theirs, mamba_2(2 * dim, 2 * draw.H), draw.normal(draw.B, draw.T, dim))
