from __future__ import annotations

import math

import pytest
import torch

from pytest_mad.layers.modules.feature_maps import FEATURE_MAPS, build_feature_map

K = 6


def random_keys(count: int = 50) -> torch.Tensor:
    return torch.randn(count, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(FEATURE_MAPS))
@pytest.mark.parametrize("compat", [False, True])
def test_width_is_as_stated(name: str, compat: bool) -> None:
    feature_map = build_feature_map(name, K, compat).double()
    assert feature_map(random_keys()).shape == (50, feature_map.feature_dim)


def test_widths_of_the_specification() -> None:
    widths = {name: build_feature_map(name, K).feature_dim for name in FEATURE_MAPS}
    assert widths == {
        "elu": K, "relu": K, "identity": K, "t2r": K, "elementwise_product": K,
        "hedgehog": 2 * K, "dpfp": 2 * K * 4, "taylor": 1 + K + K * (K + 1) // 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["elu", "relu", "t2r", "hedgehog", "dpfp"])
def test_positive_maps_are_not_negative(name: str) -> None:
    assert (build_feature_map(name, K).double()(random_keys()) >= 0).all()


def test_taylor_is_the_series_of_the_exponential() -> None:
    q, k = random_keys().split(25)
    phi = build_feature_map("taylor", K).double()
    s = (q * k).sum(-1) / math.sqrt(K)
    torch.testing.assert_close((phi(q) * phi(k)).sum(-1), 1 + s + s**2 / 2, atol=1e-6, rtol=1e-6)


def test_hedgehog_sums_to_one_and_starts_at_the_identity() -> None:
    phi, x = build_feature_map("hedgehog", K).double(), random_keys()
    torch.testing.assert_close(phi(x).sum(-1), torch.ones(50, dtype=torch.float64))
    exponentials = torch.cat([(2 * x).exp(), (-2 * x).exp()], -1)
    torch.testing.assert_close(phi(x), exponentials / exponentials.sum(-1, keepdim=True))


def test_dpfp_by_its_definition() -> None:
    x = random_keys()[0].tolist()
    r = [max(value, 0.0) for value in x] + [max(-value, 0.0) for value in x]
    expected = [r[i] * r[(i - shift) % (2 * K)] for shift in range(1, 5) for i in range(2 * K)]
    features = build_feature_map("dpfp", K)(torch.tensor(x, dtype=torch.float64))
    torch.testing.assert_close(features, torch.tensor(expected, dtype=torch.float64))


def test_dpfp_of_mad_lab_loses_negative_inputs() -> None:
    negative = -random_keys().abs()
    assert (build_feature_map("dpfp", K, compat=True)(negative) == 0).all()
    assert (build_feature_map("dpfp", K)(negative) != 0).any()
    assert (build_feature_map("dpfp", K, compat=True)(random_keys()) < 0).any()


def test_elementwise_product_and_t2r_by_their_definition() -> None:
    x = random_keys()
    product, t2r = build_feature_map("elementwise_product", K).double(), build_feature_map("t2r", K).double()
    torch.testing.assert_close(product(x), (x @ product.left.weight.T) * (x @ product.right.weight.T))
    torch.testing.assert_close(t2r(x), (x @ t2r.linear.weight.T).clamp(min=0))


def test_unknown_map() -> None:
    with pytest.raises(ValueError, match=r"unknown feature_map 'softplus': the maps are dpfp, .*taylor"):
        build_feature_map("softplus", K)
