from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pytest_mad.layers import build_layer, linear_attention
from pytest_mad.layers.linear_attention import LinearAttention
from pytest_mad.layers.modules.feature_maps import FEATURE_MAPS

DIM, LENGTH = 12, 17


def build(**config: object) -> LinearAttention:
    torch.manual_seed(3)
    return LinearAttention(DIM, LENGTH, **config).double()


def recurrent(layer: LinearAttention, x_BTD: Tensor) -> Tensor:
    """Step by step, from the state S = sum phi(k) v^T and z = sum phi(k)."""
    batch, length, _ = x_BTD.shape
    heads = layer.num_heads
    q, k, v = (getattr(layer, name)(x_BTD).view(batch, length, heads, -1) for name in "qkv")
    q, k = layer.map_q(q), layer.map_k(k)
    q = q / (q.sum(-1, keepdim=True) + 1e-4) if layer.norm_q else q
    k = k / (k.sum(-1, keepdim=True) + 1e-4) if layer.norm_k else k
    state, total, outputs = 0.0, 0.0, []
    for t in range(length):
        state = state + torch.einsum("bhf,bhv->bhfv", k[:, t], v[:, t])
        total = total + k[:, t]
        norm = torch.einsum("bhf,bhf->bh", q[:, t], total) + layer.eps
        outputs.append(torch.einsum("bhf,bhfv->bhv", q[:, t], state) / norm[..., None])
    return layer.out(torch.stack(outputs, 1).flatten(2))


@pytest.mark.parametrize("feature_map", sorted(FEATURE_MAPS))
@pytest.mark.parametrize(
    "config",
    [
        {"num_heads": 1},
        {"head_dim": 4, "tie_feature_maps": True},
        {"num_heads": 2, "expand_k": 0.5, "expand_v": 2},
        {"num_heads": 2, "norm_q": True, "norm_k": True},
        {"num_heads": 3, "compat": True},
    ],
    ids=lambda config: "-".join(config),
)
def test_parallel_form_is_the_recurrence(feature_map: str, config: dict[str, object]) -> None:
    layer = build(feature_map=feature_map, **config)
    x = torch.randn(2, LENGTH, DIM, dtype=torch.float64)
    # relative to the size of an output: a normaliser of any sign makes some of them large
    expected = recurrent(layer, x)
    assert (layer(x) - expected).abs().max() <= 1e-9 * expected.abs().max().clamp(min=1)


def test_tied_maps_are_one_module() -> None:
    tied, untied = build(num_heads=1, tie_feature_maps=True), build(num_heads=1)
    assert tied.map_q is tied.map_k
    assert untied.map_q is not untied.map_k
    assert len(list(untied.parameters())) == len(list(tied.parameters())) + 4


def test_relu_map_with_an_empty_normaliser_is_zero_with_finite_gradients() -> None:
    layer = build(num_heads=1, feature_map="relu").float()
    with torch.no_grad():
        layer.q.weight.copy_(torch.eye(DIM))
        layer.k.weight.copy_(-torch.eye(DIM))
    x = torch.rand(1, LENGTH, DIM, requires_grad=True)
    output = layer(x)
    output.square().sum().backward()
    assert (output == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in [x, *layer.parameters()] if parameter.grad is not None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 4, "expand_k": 0.5}, "expand_k \\* dim = 6 is not divisible by num_heads 4"),
        ({"num_heads": 4, "expand_v": 0}, "expand_v must be positive, not 0"),
        ({"num_heads": 1, "feature_map": "hedghog"}, "unknown feature_map 'hedghog': did you mean 'hedgehog'?"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_layer("linear-attention", dim=DIM, **config)


@pytest.mark.parametrize(
    ("feature_map", "backend"),
    [("elu", "auto"), ("taylor", "auto"), ("elementwise_product", "reference"), ("identity", "reference")],
)
def test_kernels_are_left_alone_where_the_normaliser_can_vanish(
    feature_map: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rounding error of an output is as nothing beside that of its quotient by what is almost zero."""
    asked = []

    def gla(*tensors: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        asked.append(backend)
        return real(*tensors, backend=backend)

    real = linear_attention.gla
    monkeypatch.setattr(linear_attention, "gla", gla)
    build(num_heads=1, feature_map=feature_map)(torch.randn(1, LENGTH, DIM, dtype=torch.float64))
    assert asked == [backend]
