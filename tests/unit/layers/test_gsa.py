from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers import build_layer
from pytest_mad.layers.ops.gsa import gsa

DIM, LENGTH, BATCH = 12, 35, 2  # longer than two chunks


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    heads = {} if "num_heads" in config or "head_dim" in config else {"num_heads": 3}
    layer = build_layer("gsa", dim=DIM, max_length=LENGTH, **heads, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def definition(layer: nn.Module, x: Tensor, K: Tensor, V: Tensor, heads: int, normalizer: float) -> list[Tensor]:
    """With slots as rows of both memories."""
    outputs = []
    for x_t in x.unbind(1):
        q, k, v = (F.silu(x_t @ part.weight.T).view(BATCH, heads, -1) for part in (layer.q, layer.k, layer.v))
        f = (torch.sigmoid(x_t @ layer.forget.weight.T) ** (1 / normalizer)).view(BATCH, heads, -1, 1)
        K = f * K + (1 - f) * k[:, :, None]
        V = f * V + (1 - f) * v[:, :, None]
        o = torch.softmax(torch.einsum("bhk,bhmk->bhm", q, K), -1)[:, :, None] @ V
        o = F.silu(o.flatten(1))
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight  # over all heads
        outputs.append(o @ layer.out.weight.T)
    return [torch.stack(outputs, 1), K, V]


@pytest.mark.parametrize(
    ("config", "heads", "normalizer"),
    [
        ({}, 3, 8),
        ({"head_dim": 2, "num_slots": 5}, 6, 8),
        ({"num_heads": 1, "num_slots": 3, "gate_normalizer": 0.5}, 1, 0.5),
        ({"num_slots": 1}, 3, 8),
    ],
)
def test_by_its_definition(config: dict[str, object], heads: int, normalizer: float) -> None:
    layer = build(**config)
    x, state = randn(BATCH, LENGTH, DIM), layer.init_state(BATCH)
    K, V = randn(*state["K"].shape), randn(*state["V"].shape)
    assert V.shape == (BATCH, heads, config.get("num_slots", 8), DIM // heads)
    expected, K_behind, V_behind = definition(layer, x, K.mT, V, heads, normalizer)
    output, after = layer.prefill(x, {"K": K, "V": V})
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"K": K_behind.mT, "V": V_behind}, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_tokens_in_slots_of_their_own_are_seen_as_by_attention(backend: str) -> None:
    """If token t fills slot t and nothing is forgotten, the last query attends to all of them, without a scale."""
    q, k, v = randn(1, 5, 1, 3), randn(1, 5, 1, 3), randn(1, 5, 1, 4)
    s, g = torch.eye(5, dtype=torch.float64).view(1, 5, 1, 5), torch.zeros(1, 5, 1, 5, dtype=torch.float64)
    K, V = torch.zeros(1, 1, 3, 5, dtype=torch.float64), torch.zeros(1, 1, 5, 4, dtype=torch.float64)
    o, (K, V) = gsa(q, k, v, s, g, K, V, backend=backend)
    torch.testing.assert_close(K[0, 0].mT, k[0, :, 0])
    torch.testing.assert_close(V[0, 0], v[0, :, 0])
    torch.testing.assert_close(o[0, -1, 0], torch.softmax(k[0, :, 0] @ q[0, -1, 0], -1) @ v[0, :, 0])


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_slots_that_forget_all_hold_the_last_token(backend: str) -> None:
    q, k, v, K, V = randn(1, 5, 1, 3), randn(1, 5, 1, 3), randn(1, 5, 1, 4), randn(1, 1, 3, 6), randn(1, 1, 6, 4)
    forget = torch.full((1, 5, 1, 6), -1e4, dtype=torch.float64)
    o, (K, V) = gsa(q, k, v, torch.ones_like(forget), forget, K, V, backend=backend)
    torch.testing.assert_close(o, v)
    torch.testing.assert_close(K[0, 0], k[0, -1].mT.expand(3, 6))
    torch.testing.assert_close(V[0, 0], v[0, -1].expand(6, 4))


def test_states_start_empty() -> None:
    state = build_layer("gsa", dim=128).init_state(2)
    assert {key: tuple(part.shape) for key, part in state.items()} == {"K": (2, 8, 16, 8), "V": (2, 8, 8, 16)}
    assert all((part == 0).all() for part in state.values())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, "dim 12 is not divisible by num_heads 5"),
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"num_slots": 0}, "num_slots must be a whole number of at least 1, not 0"),
        ({"num_slots": -2}, "num_slots must be a whole number of at least 1, not -2"),
        ({"gate_normalizer": 0}, "gate_normalizer must be positive, not 0"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)
