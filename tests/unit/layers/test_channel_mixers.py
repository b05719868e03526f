from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pytest_mad.layers import build_layer
from pytest_mad.layers.mlp import MLP, SwiGLU
from pytest_mad.layers.modules.norms import RMSNorm
from pytest_mad.layers.moe import MoeMLP


def test_rms_norm_by_its_definition() -> None:
    norm, x = RMSNorm(8), 3 * torch.randn(4, 8)
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight)
    assert norm.eps == 1e-5


@pytest.mark.parametrize("name", ["mlp", "swiglu", "moe-mlp"])
def test_each_position_is_on_its_own(name: str) -> None:
    layer, x = build_layer(name, dim=16, max_length=8).double(), torch.randn(2, 8, 16, dtype=torch.float64)
    order = torch.randperm(8)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order])


def test_mlp_by_its_definition() -> None:
    layer, x = MLP(8, 4), torch.randn(2, 4, 8)
    inner = F.gelu(x @ layer.up.weight.T, approximate="tanh")
    assert inner.shape[-1] == 32
    torch.testing.assert_close(layer(x), inner @ layer.down.weight.T)


def test_swiglu_by_its_definition() -> None:
    layer, x = SwiGLU(8, 4), torch.randn(2, 4, 8)
    gate = x @ layer.gate.weight.T
    torch.testing.assert_close(layer(x), (gate * gate.sigmoid() * (x @ layer.up.weight.T)) @ layer.down.weight.T)


@pytest.mark.parametrize(("dim", "inner"), [(128, 352), (64, 176), (48, 128), (8, 32)])
def test_inner_width_of_swiglu(dim: int, inner: int) -> None:
    assert build_layer("swiglu", dim=dim).up.out_features == inner


@pytest.mark.parametrize("name", ["mlp", "swiglu"])
def test_inner_width_is_honoured(name: str) -> None:
    assert build_layer(name, dim=32, dim_inner=20).down.in_features == 20


@pytest.mark.parametrize("name", ["mlp", "swiglu", "moe-mlp"])
def test_bias_and_dropout(name: str) -> None:
    layer, x = build_layer(name, dim=16, bias=True, dropout=0.5), torch.randn(2, 3, 16)
    assert layer.down.bias is not None
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


@pytest.mark.parametrize("active", [1, 2, 5])
def test_router_uses_exactly_the_active_experts(active: int) -> None:
    layer, x = build_layer("moe-mlp", dim=16, active_experts=active), torch.randn(3, 7, 16)
    weights = layer.route(x)
    assert ((weights > 0).sum(-1) == active).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 7))
    best = layer.router(x).topk(active, dim=-1).indices
    assert weights.gather(-1, best).gt(0).all()


def test_router_with_equal_scores_still_uses_exactly_the_active_experts() -> None:
    layer = build_layer("moe-mlp", dim=16)
    assert ((layer.route(torch.zeros(1, 3, 16)) > 0).sum(-1) == 2).all()


def test_compat_router_keeps_all_experts() -> None:
    layer, x = build_layer("moe-mlp", dim=16, compat=True), torch.randn(3, 7, 16)
    scores = layer.router(x)
    zeroed = torch.where(scores < scores.topk(2, dim=-1).values[..., -1:], 0.0, scores)
    torch.testing.assert_close(layer.route(x), zeroed.softmax(-1))
    assert (layer.route(x) > 0).all()


def test_moe_is_the_weighted_sum_of_its_experts() -> None:
    layer, x = MoeMLP(16, 4, dim_inner=3, num_experts=5), torch.randn(2, 4, 16)
    inner = layer.up(x) * F.gelu(layer.gate(x), approximate="tanh")
    experts = layer.down.weight.view(16, 5, 15)  # output channel d of expert e is row 5 d + e
    outputs = torch.einsum("bti,dei->bted", inner, experts)
    expected = sum(layer.route(x)[..., e, None] * outputs[..., e, :] for e in range(5))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("active", [0, 9])
def test_impossible_number_of_active_experts(active: int) -> None:
    with pytest.raises(ValueError, match=f"active_experts must be from 1 to num_experts 8, not {active}"):
        build_layer("moe-mlp", active_experts=active)
