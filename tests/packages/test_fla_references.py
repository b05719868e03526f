"""Operators against the references of flash-linear-attention: plain loops over time, in PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from pytest_mad.layers.modules.feature_maps import build_feature_map
from pytest_mad.layers.ops.delta import delta_rule, dplr
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.gsa import gsa
from tests.packages.comparing import assert_same
from tests.packages.drawing import Draw, draws, examples, swapped
from tests.packages.installed import load

pytestmark = pytest.mark.parametrize("backend", ["recurrent", "reference"])


@given(draws())
@examples
def test_gla(backend: str, draw: Draw):
    naive = load("fla.ops.gla.naive.naive_recurrent_gla")

    def ours(q, k, v, g, S):
        return gla(q * draw.K**-0.5, k, v, g, None, S, backend=backend)

    def theirs(q, k, v, g, S):
        return naive(q, k, v, g, initial_state=S, output_final_state=True)

    q, k, v = draw.qkv()
    assert_same(ours, theirs, q, k, v, draw.log_decay(*k.shape), draw.state())


@given(draws())
@examples
def test_simple_gla(backend: str, draw: Draw):
    naive = load("fla.ops.simple_gla.naive.naive_recurrent_simple_gla")

    def ours(q, k, v, g, S):
        return gla(q, k, v, g[..., None], None, S, backend=backend)

    def theirs(q, k, v, g, S):
        return naive(q, k, v, g, scale=1, initial_state=S, output_final_state=True)

    q, k, v = draw.qkv()
    assert_same(ours, theirs, q, k, v, draw.log_decay(*k.shape[:3]), draw.state())


@given(draws())
@examples
def test_retention(backend: str, draw: Draw):
    naive = load("fla.ops.retention.naive.naive_retention")

    def ours(q, k, v):
        g_H1 = torch.log1p(-(2.0 ** (-5 - torch.arange(draw.H))))[:, None]
        S = torch.zeros(draw.B, draw.H, draw.K, draw.V)
        return gla(q * draw.K**-0.5, k, v, g_H1.expand(draw.B, draw.T, -1, -1), None, S, backend=backend)[0]

    def theirs(q, k, v):
        return swapped(naive(swapped(q), swapped(k), swapped(v)))

    assert_same(ours, theirs, *draw.qkv())


@given(draws())
@examples
def test_rwkv6(backend: str, draw: Draw):
    naive = load("fla.ops.rwkv6.recurrent_naive.naive_recurrent_rwkv6")

    def ours(q, k, v, g, u, S):
        return gla(q, k, v, g, u, S, backend=backend)

    def theirs(q, k, v, g, u, S):
        o, S = naive(*map(swapped, (q, k, v, g)), u, scale=1, initial_state=S, output_final_state=True)
        return swapped(o), S

    q, k, v = draw.qkv()
    assert_same(ours, theirs, q, k, v, draw.log_decay(*k.shape), draw.normal(draw.H, draw.K), draw.state())


@given(draws())
@examples
def test_linear_attention(backend: str, draw: Draw):
    naive = load("fla.ops.linear_attn.naive.naive_recurrent_linear_attn")

    def ours(q, k, v, S):
        return gla(q, k, v, None, None, S, backend=backend)

    def theirs(q, k, v, S):
        return naive(q, k, v, scale=1, initial_state=S, output_final_state=True)

    assert_same(ours, theirs, *draw.qkv(), draw.state())


@given(draws())
@examples
def test_based(backend: str, draw: Draw):
    """Its Taylor features, through the same operator as all linear attention."""
    naive = load("fla.ops.based.naive.naive_parallel_based")
    taylor = build_feature_map("taylor", draw.K)

    def ours(q, k, v):
        S = torch.zeros(draw.B, draw.H, taylor.feature_dim, draw.V)
        return gla(taylor(q), taylor(k), v, None, None, S, backend=backend)[0]

    def theirs(q, k, v):
        return swapped(naive(*map(swapped, (q, k, v)), use_norm=False))

    assert_same(ours, theirs, *draw.qkv())


@given(draws())
@examples
def test_delta_rule(backend: str, draw: Draw):
    naive = load("fla.ops.delta_rule.naive.delta_rule_recurrence")

    def ours(q, k, v, beta, S):
        return delta_rule(q * draw.K**-0.5, k, v, beta, None, S, backend=backend)

    def theirs(q, k, v, beta, S):
        o, S = naive(*map(swapped, (q, k, v, beta)), initial_state=S)
        return swapped(o), S

    q, k, v = draw.qkv_of_delta_rule()
    assert_same(ours, theirs, q, k, v, 2 * draw.uniform(*k.shape[:3]), draw.state())


@given(draws())
@examples
def test_gated_delta_rule(backend: str, draw: Draw):
    naive = load("fla.ops.gated_delta_rule.naive.naive_recurrent_gated_delta_rule")

    def ours(q, k, v, beta, g, S):
        return delta_rule(q, k, v, beta, g[..., None], S, backend=backend)

    def theirs(q, k, v, beta, g, S):
        return naive(q, k, v, beta, g, scale=1, initial_state=S, output_final_state=True)

    q, k, v = draw.qkv_of_delta_rule()
    gates = 2 * draw.uniform(*k.shape[:3]), draw.log_decay(*k.shape[:3])
    assert_same(ours, theirs, q, k, v, *gates, draw.state())


@given(draws())
@examples
def test_kda(backend: str, draw: Draw):
    naive = load("fla.ops.kda.naive.naive_recurrent_kda")

    def ours(q, k, v, g, beta, S):
        return delta_rule(q, k, v, beta, g, S, backend=backend)

    def theirs(q, k, v, g, beta, S):
        return naive(q, k, v, g, beta, scale=1, initial_state=S, output_final_state=True)

    q, k, v = draw.qkv_of_delta_rule()
    assert_same(ours, theirs, q, k, v, draw.log_decay(*k.shape), draw.uniform(*k.shape[:3]), draw.state())


@given(draws())
@examples
def test_dplr(backend: str, draw: Draw):
    """With a and b as RWKV-7 has them: -kappa, and kappa times a learning rate per channel."""
    naive = load("fla.ops.generalized_delta_rule.dplr.naive.dplr_recurrence")

    def ours(q, k, v, a, b, g, S):
        return dplr(q * draw.K**-0.5, k, v, a, b, g, S, backend=backend)

    def theirs(q, k, v, a, b, g, S):
        o, S = naive(*map(swapped, (q, k, v, a, b, g)), initial_state=S)
        return swapped(o), S

    q, k, v = draw.qkv()
    kappa = F.normalize(draw.normal(*k.shape), dim=-1)
    g = draw.log_decay(*k.shape).clamp(min=-0.61)  # a stronger decay than RWKV-7's would let it explode
    assert_same(ours, theirs, q, k, v, -kappa, kappa * draw.uniform(*k.shape), g, draw.state())


@given(draws())
@examples
def test_gsa(backend: str, draw: Draw):
    naive = load("fla.ops.gsa.naive.naive_recurrent_gsa")
    slots = draw.V

    def ours(q, k, v, s, g, keys, values):
        return gsa(q, k, v, s, g, keys, values, backend=backend)

    def theirs(q, k, v, s, g, keys, values):
        return naive(q, k, v, s, g, scale=1, initial_state=(keys, values), output_final_state=True)

    q, k, v = draw.qkv()
    g = draw.log_decay(*k.shape[:3], slots)
    states = draw.normal(draw.B, draw.H, draw.K, slots), draw.normal(draw.B, draw.H, slots, draw.V)
    assert_same(ours, theirs, q, k, v, 1 - g.exp(), g, *states)
