from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pytest_mad.layers import build_layer

DIM, LENGTH, BATCH = 12, 35, 2  # longer than two chunks


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    heads = {} if "num_heads" in config or "head_dim" in config else {"num_heads": 3}
    layer = build_layer("hgrn2", dim=DIM, max_length=LENGTH, **heads, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def definition(layer: nn.Module, x: Tensor, S: Tensor, heads: int, bound: float) -> tuple[Tensor, Tensor]:
    outputs = []
    for x_t in x.unbind(1):
        q, f, i = (x_t @ part.weight.T for part in (layer.q, layer.forget, layer.input))
        q, f = q * torch.sigmoid(q), bound + (1 - bound) * torch.sigmoid(f)
        q, f, i = (part.view(BATCH, heads, -1) for part in (q, f, i))
        S = f[..., None] * S + torch.einsum("bhk,bhv->bhkv", 1 - f, i)
        o = (torch.einsum("bhk,bhkv->bhv", q, S) / q.shape[-1] ** 0.5).flatten(1)
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight  # over all heads
        outputs.append(o @ layer.out.weight.T)
    return torch.stack(outputs, 1), S


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("config", "heads"), [({"num_heads": 1}, 1), ({"num_heads": 3}, 3), ({"head_dim": 2}, 6)])
def test_by_its_definition(config: dict[str, object], heads: int, bound: float) -> None:
    layer = build(**config, lower_bound=bound)
    x, S = randn(BATCH, LENGTH, DIM), randn(*layer.init_state(BATCH)["S"].shape)
    expected, behind = definition(layer, x, S, heads, bound)
    output, after = layer.prefill(x, {"S": S})
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"S": behind}, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("bound", [0.0, 0.3])
def test_what_is_forgotten_makes_room_for_what_is_written(bound: float) -> None:
    """A full gate keeps the state and writes nothing; an empty one keeps what the bound says, and fills up the rest."""
    layer, x = build(lower_bound=bound), torch.ones(BATCH, DIM, dtype=torch.float64)
    S = randn(BATCH, 3, 4, 4)
    i = layer.input(x).view(BATCH, 3, 1, 4)
    with torch.no_grad():
        for weight, expected in ((50.0, S), (-50.0, bound * S + (1 - bound) * i)):
            layer.forget.weight.fill_(weight)
            _, after = layer.prefill(x[:, None], {"S": S})
            torch.testing.assert_close(after["S"], expected)


@pytest.mark.parametrize("before", [0.0, 1.0])
@pytest.mark.parametrize("bound", [0.0, 0.5])
def test_long_memory_in_float32(bound: float, before: float) -> None:
    """A token may forget, and write, so little that 1 - f and log f must not be taken from a rounded f."""
    layer, length = build(lower_bound=bound).float(), 2000
    with torch.no_grad():
        layer.forget.weight.fill_(11.7 / DIM)
        _, after = layer.prefill(torch.ones(1, length, DIM), {"S": torch.full((1, 3, 4, 4), before)})
        i = layer.input(torch.ones(1, DIM)).double().view(1, 3, 1, 4)
    kept = (1 - (1 - bound) / (1 + math.exp(11.7))) ** length  # about 0.98
    expected = (kept * before + (1 - kept) * i).expand(1, 3, 4, 4)
    torch.testing.assert_close(after["S"].double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bound", [0.0, 0.5])
@pytest.mark.parametrize("weight", [10.0, -10.0])
def test_full_and_empty_gates_have_finite_gradients(weight: float, bound: float) -> None:
    layer = build(lower_bound=bound).float()
    nn.init.constant_(layer.forget.weight, weight)
    layer(torch.ones(1, LENGTH, DIM)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, "dim 12 is not divisible by num_heads 5"),
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"lower_bound": 1.0}, r"lower_bound must be at least 0 and below 1, not 1\.0"),
        ({"lower_bound": -0.1}, r"lower_bound must be at least 0 and below 1, not -0\.1"),
        ({"lower_bound": float("nan")}, "lower_bound must be at least 0 and below 1, not nan"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)
