from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer
from pytest_mad.layers.ops.gla import gla

DIM, LENGTH, BATCH = 12, 35, 2  # longer than two chunks


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    layer = build_layer("gated-linear-attention", dim=DIM, max_length=LENGTH, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def inputs(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """A sequence, and a state as if another one had gone before."""
    return randn(BATCH, LENGTH, DIM), randn(*layer.init_state(BATCH)["S"].shape)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def definition(layer: nn.Module, x: Tensor, S: Tensor, heads: int, normalizer: float) -> tuple[Tensor, Tensor]:
    outputs = []
    for x_t in x.unbind(1):
        q, k, v, g = (x_t @ part.weight.T for part in (layer.q, layer.k, layer.v, layer.gate))
        down, up = layer.decay
        a = torch.sigmoid(x_t @ down.weight.T @ up.weight.T + up.bias) ** (1 / normalizer)
        q, k, v, a = (part.view(BATCH, heads, -1) for part in (q, k, v, a))
        S = a[..., None] * S + torch.einsum("bhk,bhv->bhkv", k, v)
        o = torch.einsum("bhk,bhkv->bhv", q, S) / q.shape[-1] ** 0.5
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight
        outputs.append((o.flatten(1) * g * torch.sigmoid(g)) @ layer.out.weight.T)
    return torch.stack(outputs, 1), S


@pytest.mark.parametrize(
    ("config", "heads", "normalizer"),
    [
        ({}, 1, 16),
        ({"head_dim": 4}, 3, 16),
        ({"num_heads": 3, "expand_k": 0.5, "expand_v": 2}, 3, 16),
        ({"num_heads": 2, "expand_k": 1.5, "gate_low_rank": 5, "gate_normalizer": 0.5}, 2, 0.5),
    ],
)
def test_by_its_definition(config: dict[str, object], heads: int, normalizer: float) -> None:
    layer = build(**config)
    x, S = inputs(layer)
    expected, behind = definition(layer, x, S, heads, normalizer)
    output, after = layer.prefill(x, {"S": S})
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"S": behind}, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "config", "shape"),
    [
        ("gated-linear-attention", {}, (2, 1, 128, 128)),
        ("mh-gated-linear-attention", {}, (2, 8, 16, 16)),
        ("mh-gated-linear-attention", {"expand_k": 0.5, "expand_v": 2}, (2, 8, 8, 32)),
    ],
)
def test_heads_and_widths(name: str, config: dict[str, object], shape: tuple[int, ...]) -> None:
    S = build_layer(name, dim=128, **config).init_state(2)["S"]
    assert S.shape == shape
    assert (S == 0).all()


@pytest.mark.parametrize("backbone", [None, LanguageModel, AutoEncoder])
@pytest.mark.parametrize("name", ["gated-linear-attention", "mh-gated-linear-attention"])
def test_starts_with_small_weights(name: str, backbone: type[nn.Module] | None) -> None:
    """Xavier's uniform distribution with a gain of 2^-2.5, as in MAD: none beyond its bound, and some close to it."""
    torch.manual_seed(5)
    layer = build_layer(name, dim=128, max_length=8)
    if backbone is not None:
        backbone([layer], dim=128, vocab_size=5, max_length=8)
    for linear in (layer.q, layer.k, layer.v, *layer.decay, layer.gate, layer.out):
        bound = 2**-2.5 * (6 / (linear.in_features + linear.out_features)) ** 0.5
        assert linear.weight.abs().max() <= bound
        assert linear.weight.max() > 0.99 * bound
        assert linear.weight.min() < -0.99 * bound
    assert [key for key, _ in layer.named_parameters() if "bias" in key] == ["decay.1.bias"]
    assert (layer.decay[1].bias == 0).all()
    assert (layer.norm.weight == 1).all()


def test_the_compatible_autoencoder_draws_other_weights() -> None:
    layer = build(head_dim=4)  # with a bias that is not zero
    AutoEncoder([layer], dim=DIM, vocab_size=5, max_length=8, compat=True)
    weights = torch.cat([module.weight.flatten() for module in layer.modules() if isinstance(module, nn.Linear)])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert (layer.decay[1].bias == 0).all()
    assert not torch.allclose(layer.norm.weight, torch.ones(4, dtype=torch.float64))  # only linear maps


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_a_decay_of_zero_forgets_all_and_one_of_one_adds_up(backend: str) -> None:
    q, k, v, S = randn(2, 9, 3, 4), randn(2, 9, 3, 4), randn(2, 9, 3, 5), randn(2, 3, 4, 5)
    own = (q * k).sum(-1, keepdim=True) * v
    forgetful, _ = gla(q, k, v, torch.full_like(q, -1e4), None, S, backend=backend)
    torch.testing.assert_close(forgetful, own)
    _, total = gla(q, k, v, torch.zeros_like(q), None, S, backend=backend)
    torch.testing.assert_close(total, S + torch.einsum("bthk,bthv->bhkv", k, v))


def test_a_key_channel_forgets_on_its_own() -> None:
    k, v = torch.eye(2, dtype=torch.float64).view(1, 2, 1, 2), randn(1, 2, 1, 3)
    g = torch.tensor([0.0, -1e4], dtype=torch.float64).expand(1, 5, 1, 2)
    padded_k, padded_v = F.pad(k, (0, 0, 0, 0, 0, 3)), F.pad(v, (0, 0, 0, 0, 0, 3))
    _, S = gla(padded_k, padded_k, padded_v, g, None, torch.zeros(1, 1, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(S[0, 0], torch.stack([v[0, 0, 0], torch.zeros_like(v[0, 0, 0])]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, "dim 12 is not divisible by num_heads 5"),
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 0}, "num_heads must be a whole number of at least 1, not 0"),
        ({"num_heads": 4, "expand_k": 0.5}, r"expand_k \* dim = 6 is not divisible by num_heads 4"),
        ({"num_heads": 4, "expand_v": 0.5}, r"expand_v \* dim = 6 is not divisible by num_heads 4"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"num_heads": None}, "give exactly one of num_heads and head_dim, not num_heads=None, head_dim=None"),
        ({"expand_k": 0}, "expand_k must be positive, not 0"),
        ({"expand_v": -1}, "expand_v must be positive, not -1"),
        ({"gate_low_rank": 0}, "gate_low_rank must be a whole number of at least 1, not 0"),
        ({"gate_normalizer": 0}, "gate_normalizer must be positive, not 0"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)
