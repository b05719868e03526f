from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers import build_layer
from pytest_mad.layers.attention import Attention
from pytest_mad.layers.modules.rotary import Rotary
from pytest_mad.layers.ops import attention as attention_module

LENGTH = 40


def build(**config: object) -> Attention:
    torch.manual_seed(0)
    layer = Attention(16, LENGTH, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def random_inputs(length: int = LENGTH) -> Tensor:
    return torch.randn(2, length, 16, dtype=torch.float64)


def turned(x_K: Tensor, position: int) -> Tensor:
    """RoPE as it is defined: each pair of channels is a complex number, and the position turns it."""
    half = len(x_K) // 2
    turns = [complex(math.cos(a), math.sin(a)) for a in (position * 10_000 ** (-i / half) for i in range(half))]
    pairs = torch.complex(x_K[:half], x_K[half:]) * torch.tensor(turns, dtype=torch.complex128)
    return torch.cat([pairs.real, pairs.imag])


def naive(layer: Attention, x_BTD: Tensor, keys: int) -> Tensor:
    """Query by query, head by head; each query sees `keys` keys, the last one being its own."""
    batch, length, dim = x_BTD.shape
    width = dim // layer.num_heads
    q, k, v = (x_BTD @ layer.qkv.weight.T + layer.qkv.bias).split(dim, dim=-1)
    y = torch.zeros_like(x_BTD)
    for b in range(batch):
        for head in range(layer.num_heads):
            part = slice(head * width, (head + 1) * width)
            for i in range(length):
                seen = range(max(0, i - keys + 1), i + 1)
                query = turned(q[b, i, part], i)
                scores = torch.stack([query @ turned(k[b, j, part], j) for j in seen]) / math.sqrt(width)
                y[b, i, part] = scores.softmax(0) @ v[b, seen.start : i + 1, part]
    return y @ layer.out.weight.T + layer.out.bias


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"num_heads": 1}, LENGTH),
        ({"head_dim": 8}, LENGTH),
        ({"head_dim": 4, "window": 5}, 5),
        ({"head_dim": 8, "window": 5, "compat": True}, 6),
        ({"head_dim": 8, "window": LENGTH}, LENGTH),
    ],
)
def test_agrees_with_the_definition(
    config: dict[str, int], keys: int, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_module, "CACHED_SCORES", 0 if fused else 2**22)
    layer, x = build(**config), random_inputs(12)
    torch.testing.assert_close(layer(x), naive(layer, x, keys), atol=1e-6, rtol=1e-6)  # the tables are float32


@pytest.mark.parametrize("config", [{}, {"window": 3}, {"causal": False}, {"causal": False, "window": 3}])
def test_the_fused_kernel_agrees_with_the_written_out_one(
    config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = build(head_dim=8, **config), random_inputs().requires_grad_()
    results = []
    for limit in (2**22, 0):
        monkeypatch.setattr(attention_module, "CACHED_SCORES", limit)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("length", "padded"), [(1, 1), (15, 16), (20, 20), (30, 32), (32, 32), (40, 40)])
def test_rows_of_whole_vectors_change_nothing(length: int, padded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is appended for the kernel's sake is seen by nobody."""
    monkeypatch.setattr(attention_module, "CACHED_SCORES", 0)
    layer, x = build(head_dim=8), random_inputs()[:, :length].clone().requires_grad_()
    kernel, results, asked = F.scaled_dot_product_attention, [], []

    def watched(q: Tensor, *others: Tensor, is_causal: bool) -> Tensor:
        asked.append(q.shape[2])
        return kernel(q, *others, is_causal=is_causal)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    for vector in (16, 1):
        monkeypatch.setattr(attention_module, "VECTOR", vector)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
    assert asked == [padded, length]


def seen_from_the_end(layer: torch.nn.Module, length: int, dim: int) -> list[int]:
    x = torch.randn(1, length, dim, requires_grad=True)
    layer(x)[0, -1].square().sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(-1).nonzero().flatten().tolist()


@pytest.mark.parametrize("name", ["sliding-attention", "mh-sliding-attention"])
@pytest.mark.parametrize(("config", "keys"), [({}, 32), ({"compat": True}, 33), ({"window": 7}, 7), ({"window": 1}, 1)])
def test_a_query_sees_exactly_the_window(name: str, config: dict[str, int], keys: int) -> None:
    layer = build_layer(name, dim=16, max_length=64, **config)
    assert seen_from_the_end(layer, 50, 16) == list(range(50 - keys, 50))


def test_a_query_of_full_attention_sees_all() -> None:
    assert seen_from_the_end(build_layer("mh-attention", dim=16, max_length=64), 50, 16) == list(range(50))


def test_without_causality_the_window_reaches_both_ways() -> None:
    layer, x = build(head_dim=8, causal=False, window=3), random_inputs().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[:, 20].sum(), x)
    assert gradient[0].abs().sum(-1).nonzero().flatten().tolist() == [18, 19, 20, 21, 22]


def test_scores_depend_on_distance_only() -> None:
    """Nothing before the window reaches the output, so a shifted input gives a shifted output: RoPE is relative."""
    layer, x = build(head_dim=8, window=4), random_inputs()
    torch.testing.assert_close(layer(x)[:, 13:], layer(x[:, 10:])[:, 3:], atol=1e-6, rtol=1e-6)


def test_partial_and_no_rotary() -> None:
    partial = Rotary(4, LENGTH, num_heads=2).double()
    x = torch.randn(1, LENGTH, 2, 8, dtype=torch.float64)
    torch.testing.assert_close(partial(x)[..., 4:], x[..., 4:], rtol=0, atol=0)
    torch.testing.assert_close(partial(x)[0, 7, 1, :4], turned(x[0, 7, 1, :4], 7), atol=1e-6, rtol=1e-6)
    blind = build(num_heads=1, rotary_dim=0, causal=False)
    y = random_inputs()
    torch.testing.assert_close(blind(y.flip(1)), blind(y).flip(1))


def test_dropout_acts_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = build(head_dim=8, dropout=0.5), random_inputs()
    for limit in (2**22, 0):
        monkeypatch.setattr(attention_module, "CACHED_SCORES", limit)
        assert not torch.equal(layer.train()(x), layer(x))
        assert torch.equal(layer.eval()(x), layer(x))


def test_position_tables_are_no_part_of_the_state() -> None:
    assert set(build(num_heads=1).state_dict()) == {"qkv.weight", "qkv.bias", "out.weight", "out.bias"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 16}, "rotary_dim must be even"),
        ({"num_heads": 1, "rotary_dim": 3}, "rotary_dim must be even"),
        ({"num_heads": 1, "rotary_dim": 18}, "rotary_dim 18 is more than the head's 16"),
        ({"num_heads": 1, "window": 0}, "window must be a whole number of at least 1, not 0"),
    ],
)
def test_impossible_configs(config: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attention(16, LENGTH, **config)
