from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer

DIM, LENGTH, BATCH = 12, 70, 2  # longer than a chunk


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    layer = build_layer("retnet", dim=DIM, max_length=LENGTH, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def turned(x_BHK: Tensor, position: int) -> Tensor:
    """Channel i and channel i + K/2 are the parts of a complex number, turned by ``position * 10000^(-2i/K)``."""
    real, imaginary = x_BHK.chunk(2, -1)
    powers = [-2 * i / x_BHK.shape[-1] for i in range(real.shape[-1])]
    angle = torch.tensor([position * 10_000**power for power in powers], dtype=torch.float64)
    number = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([number.real, number.imag], -1)


def definition(layer: nn.Module, x: Tensor, S: Tensor, position: int, heads: int) -> tuple[Tensor, Tensor]:
    gamma = torch.exp(layer.log_decay_H)[:, None, None]
    outputs = []
    for t, x_t in enumerate(x.unbind(1)):
        q, k = (part.view(BATCH, heads, -1) for part in (x_t @ layer.qk.weight.T).chunk(2, -1))
        v, gate = (x_t @ layer.v.weight.T).view(BATCH, heads, -1), x_t @ layer.gate.weight.T
        q, k = turned(q, position + t), turned(k, position + t)
        S = gamma * S + torch.einsum("bhk,bhv->bhkv", k, v)
        o = torch.einsum("bhk,bhkv->bhv", q, S) / q.shape[-1] ** 0.5
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight
        outputs.append((o.flatten(1) * F.silu(gate)) @ layer.out.weight.T)
    return torch.stack(outputs, 1), S


@pytest.mark.parametrize("position", [0, 9])
@pytest.mark.parametrize(
    ("config", "heads"),
    [({"head_dim": 4}, 3), ({"num_heads": 2, "expand_v": 2}, 2), ({"num_heads": 6, "expand_v": 0.5}, 6)],
)
def test_by_its_definition(config: dict[str, object], heads: int, position: int) -> None:
    layer = build(**config)
    x, S = randn(BATCH, LENGTH, DIM), randn(*layer.init_state(BATCH)["S"].shape)
    expected, behind = definition(layer, x, S, position, heads)
    output, after = layer.prefill(x, {"S": S, "position": torch.tensor(position)})
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after["S"], behind, atol=1e-9, rtol=1e-9)
    assert after["position"] == position + LENGTH


@pytest.mark.parametrize("backbone", [None, LanguageModel, AutoEncoder])
def test_every_head_forgets_half_as_fast_as_the_one_before(backbone: type[nn.Module] | None) -> None:
    layer = build_layer("retnet", dim=128, max_length=8)
    if backbone is not None:
        backbone([layer], dim=128, vocab_size=5, max_length=8)
    gammas = [31 / 32, 63 / 64, 127 / 128, 255 / 256, 511 / 512, 1023 / 1024, 2047 / 2048, 4095 / 4096]
    assert layer.log_decay_H.tolist() == pytest.approx([math.log(gamma) for gamma in gammas], rel=1e-6)
    assert "log_decay_H" not in layer.state_dict()  # it is no weight


def test_only_distances_count() -> None:
    layer, x = build(num_heads=3), randn(BATCH, 20, DIM)
    late = layer.init_state(BATCH) | {"position": torch.tensor(1000)}
    torch.testing.assert_close(layer.prefill(x, late)[0], layer(x), atol=1e-9, rtol=1e-9)


def test_order_counts() -> None:
    """By the decay, and by the rotation: without it, of two pasts with equal decays the last output is the same."""
    layer, x = build(num_heads=3), randn(BATCH, 3, DIM)
    swapped = x[:, [1, 0, 2]]
    layer.log_decay_H.zero_()
    assert not torch.allclose(layer(x)[:, 2], layer(swapped)[:, 2])
    still = layer.init_state(BATCH)
    for t in range(3):  # all at position 0
        one, still = layer.step(x[:, t], still | {"position": torch.tensor(0)})
    still = layer.init_state(BATCH)
    for t in range(3):
        other, still = layer.step(swapped[:, t], still | {"position": torch.tensor(0)})
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("config", "shape"), [({}, (2, 8, 16, 16)), ({"num_heads": 4, "expand_v": 2}, (2, 4, 32, 64))])
def test_heads_and_widths(config: dict[str, object], shape: tuple[int, ...]) -> None:
    state = build_layer("retnet", dim=128, **config).init_state(2)
    assert state["S"].shape == shape
    assert (state["S"] == 0).all()
    assert state["position"] == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, "dim 12 is not divisible by num_heads 5"),
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 4}, "retnet rotates pairs of channels, not heads of 3"),
        ({"head_dim": 3}, "retnet rotates pairs of channels, not heads of 3"),
        ({"num_heads": 6, "expand_v": 0.25}, r"expand_v \* dim = 3 is not divisible by num_heads 6"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"num_heads": 3, "expand_v": 0}, "expand_v must be positive, not 0"),
        ({"num_heads": 3, "backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)
