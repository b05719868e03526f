from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pytest_mad.layers import build_layer
from pytest_mad.layers.hyena import _Hyena
from pytest_mad.layers.modules.implicit_filter import ImplicitFilter
from pytest_mad.layers.ops import long_convolution as ops
from pytest_mad.layers.ops.long_convolution import long_convolution, long_convolution_of_pairs, toeplitz

DIM, LENGTH, MAX_LENGTH = 32, 13, 20

NAMES = ["hyena", "mh-hyena", "hyena-experts"]

every_hyena = pytest.mark.parametrize("name", NAMES)


def build(name: str, **config: object) -> _Hyena:
    torch.manual_seed(3)
    return build_layer(name, dim=DIM, max_length=MAX_LENGTH, **config).double()


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def short(layer: _Hyena, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The branches: channel c reads projection c mod P, and of it the present and the two positions before."""
    projected = x_BTD @ layer.project.weight.T + layer.project.bias
    weight_CW = layer.conv.weight_CW
    channels, taps = weight_CW.shape
    tiled = projected[..., torch.arange(channels) % projected.shape[-1]]
    outputs = layer.conv.bias_C.repeat(*x_BTD.shape[:2], 1)
    for t in range(x_BTD.shape[1]):
        for lag in range(min(taps, t + 1)):
            outputs[:, t] += weight_CW[:, taps - 1 - lag] * tiled[:, t - lag]
    first, second, third = outputs.split(channels // 3, -1)
    return first, second, third


def filter_and_skip(layer: _Hyena, length: int) -> tuple[Tensor, Tensor]:
    """``(length, C)`` and ``(C,)``, from the parameters."""
    net = layer.filter
    x = net.z_TF[:length]
    for linear in net.hidden:
        x = (net.frequency * (x @ linear.weight.T + linear.bias)).sin()
    time = torch.arange(length, dtype=torch.float64)[:, None] / (MAX_LENGTH - 1)
    rate = torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, len(net.skip_C), dtype=torch.float64).abs()
    return x @ net.out.weight.T * (-time * rate).exp(), net.skip_C


def gated_convolution(layer: _Hyena, x_BTD: Tensor) -> Tensor:
    x0, x1, v = short(layer, x_BTD)
    h, skip = filter_and_skip(layer, x_BTD.shape[1])
    u = x1 * v
    y = [sum(h[t - s] * u[:, s] for s in range(t + 1)) + skip * u[:, t] for t in range(u.shape[1])]
    return x0 * torch.stack(y, 1)


# The tables of positions are float32, of which layers in float64 get a rounded copy
ROUNDED = {"atol": 1e-6, "rtol": 1e-6}


@pytest.mark.parametrize("proj_groups", [1, 4])
def test_hyena_by_its_definition(proj_groups: int) -> None:
    layer, x = build("hyena", inner_factor=2, proj_groups=proj_groups), randn(2, LENGTH, DIM)
    assert layer.project.out_features == 3 * 2 * DIM // proj_groups
    expected = gated_convolution(layer, x) @ layer.out.weight.T + layer.out.bias
    torch.testing.assert_close(layer(x), expected, **ROUNDED)


@pytest.mark.parametrize("config", [{}, {"num_heads": 1}, {"head_dim": 4}], ids=str)
def test_multi_head_hyena_by_its_definition(config: dict[str, int]) -> None:
    """With the filter on every product of a channel of v and one of x, as the papers write it."""
    layer, x_BTD = build("mh-hyena", **config), randn(2, LENGTH, DIM)
    q, x, v = (branch.unflatten(-1, (layer.num_heads, -1)) for branch in short(layer, x_BTD))
    h, skip = filter_and_skip(layer, LENGTH)
    products = v[..., :, None] * x[..., None, :]
    outputs = []
    for t in range(LENGTH):
        convolved = sum(h[t - s, :, None, None] * products[:, s] for s in range(t + 1))
        convolved = convolved + skip[:, None, None] * products[:, t]
        outputs.append(torch.einsum("bha,bhac->bhc", q[:, t], convolved).flatten(1))
    expected = torch.stack(outputs, 1) @ layer.out.weight.T + layer.out.bias
    torch.testing.assert_close(layer(x_BTD), expected, **ROUNDED)


@pytest.mark.parametrize("compat", [False, True])
def test_hyena_experts_by_their_definition(compat: bool) -> None:
    layer = build("hyena-experts", dim_inner=3, num_experts=5, compat=compat)
    x = randn(2, LENGTH, DIM)
    z = gated_convolution(layer, x)
    scores = x @ layer.router.weight.T + layer.router.bias
    others = scores < scores.topk(2, dim=-1).values[..., -1:]
    weights = scores.masked_fill(others, 0.0 if compat else float("-inf")).softmax(-1)
    assert ((weights > 0).sum(-1) == (5 if compat else 2)).all()
    inner = sum(weights[..., e, None] * z[..., e::5] for e in range(5))
    torch.testing.assert_close(layer(x), inner @ layer.out.weight.T + layer.out.bias, **ROUNDED)


@every_hyena
@pytest.mark.parametrize("dim", [32, 64, 128])
def test_every_width_that_its_heads_divide(name: str, dim: int) -> None:
    layer = build_layer(name, dim=dim, max_length=9)
    assert layer(torch.randn(1, 9, dim)).shape == (1, 9, dim)
    assert layer.filter.skip_C.shape == {"hyena": (4 * dim,), "mh-hyena": (dim // 16,), "hyena-experts": (128,)}[name]


@pytest.mark.parametrize("channels", [1, 2, 512])
def test_initial_filter(channels: int) -> None:
    torch.manual_seed(0)
    made = ImplicitFilter(channels, 4, max_length=30)
    time = torch.arange(30) / 29
    angle = 1e-4 * 2 * math.pi * torch.arange(30) / 30
    torch.testing.assert_close(made.z_TF, torch.stack([time, angle.cos(), -angle.sin()], 1))
    assert made.z_TF.requires_grad
    assert (made.frequency == 1).all()
    assert [tuple(linear.weight.shape) for linear in made.hidden] == [(4, 3), (4, 4), (4, 4)]
    assert all((linear.bias == 0).all() for linear in made.hidden)
    assert made.out.bias is None
    rate = torch.linspace(-math.log(0.01) / 1.5, -math.log(0.01) / 0.3, channels)
    torch.testing.assert_close(made.decay_TC, torch.exp(-time[:, None] * rate))


def test_initial_skip_is_standard_normal() -> None:
    torch.manual_seed(0)
    skip = ImplicitFilter(4096, 4, 8).skip_C
    assert abs(skip.mean()) < 0.05
    assert abs(skip.std() - 1) < 0.05


def test_filter_of_one_position() -> None:
    made = ImplicitFilter(3, 2, max_length=1)
    assert made(1).isfinite().all()
    assert (made.decay_TC == 1).all()


def test_shorter_filter_is_the_beginning() -> None:
    made = ImplicitFilter(3, 2, max_length=9)
    torch.testing.assert_close(made(5), made(9)[:5])
    torch.testing.assert_close(made(1), made(9)[:1])


def test_filter_is_not_made_in_half_precision() -> None:
    """Where 1,000 positions would be fewer than 256."""
    made = ImplicitFilter(3, 2, max_length=1000)
    expected = made(1000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(1000), expected)


@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 127])
@pytest.mark.parametrize("past", [0, 1, 9])
def test_convolution_in_parallel_is_the_convolution(length: int, past: int) -> None:
    u, h, before = randn(2, length, 3), randn(past + length, 3), randn(2, past, 3)
    expected, kept = long_convolution(u, h, before, backend="recurrent")
    actual, kept_too = long_convolution(u, h, before)
    torch.testing.assert_close(actual, expected, atol=1e-11, rtol=0)
    assert torch.equal(kept, kept_too)
    assert torch.equal(kept, torch.cat([before, u], 1))


@pytest.mark.parametrize("longest_matrix", [0, 1024], ids=["fft", "toeplitz"])
@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize("past", [0, 1, 9])
def test_convolution_of_pairs_in_parallel_is_the_convolution(
    monkeypatch: pytest.MonkeyPatch, longest_matrix: int, length: int, past: int
) -> None:
    monkeypatch.setattr(ops, "LONGEST_MATRIX", longest_matrix)
    q, k, v = randn(2, length, 3, 4), randn(2, length, 3, 4), randn(2, length, 3, 5)
    before = randn(2, past, 3, 4), randn(2, past, 3, 5)
    h = randn(past + length, 3)
    expected, kept = long_convolution_of_pairs(q, k, v, h, *before, backend="recurrent")
    actual, kept_too = long_convolution_of_pairs(q, k, v, h, *before)
    torch.testing.assert_close(actual, expected, atol=1e-11, rtol=0)
    for one, other, earlier, new in zip(kept, kept_too, before, (k, v), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, torch.cat([earlier, new], 1))


def test_toeplitz_matrix() -> None:
    h = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    expected = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [3.0, 2.0, 1.0]])
    assert torch.equal(toeplitz(h, 3), torch.stack([expected, 10 * expected]))
    assert torch.equal(toeplitz(h, 2), toeplitz(h, 3)[:, 1:])


@pytest.mark.parametrize("minimum", [*range(1, 40), 253, 255, 1023])
def test_size_of_a_transform_has_no_large_factor(minimum: int) -> None:
    size = ops._fast_size(minimum)
    assert minimum <= size <= 1.25 * minimum
    while size % 2 == 0:
        size //= 2
    assert size in (1, 3, 5, 7)


@every_hyena
def test_the_state_is_what_the_convolution_has_read(name: str) -> None:
    layer = build(name)
    _, state = layer.prefill(randn(2, 5, DIM), layer.init_state(2))
    conv = state.pop("conv")
    assert conv.shape == (2, 2, len(layer.conv.weight_CW))
    assert {part.shape[:2] for part in state.values()} == {(2, 5)}
    assert sum(part.shape[2:].numel() for part in state.values()) == {"mh-hyena": 2 * DIM}.get(name, layer.channels)
    assert layer.state_size() is None


@every_hyena
def test_no_kernel_for_the_long_convolution(name: str) -> None:
    layer = build(name, backend="kernel")
    with pytest.raises(ValueError, match="backend='kernel'"):
        layer(randn(1, 4, DIM))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("hyena", {"proj_groups": 5}, "three times 128 channels are not divisible by proj_groups 5"),
        ("mh-hyena", {"proj_groups": 0}, "proj_groups must be a whole number of at least 1, not 0"),
        ("mh-hyena", {"head_dim": 12}, "dim 32 is not divisible by head_dim 12"),
        ("hyena-experts", {"active_experts": 9}, "active_experts must be from 1 to num_experts 8, not 9"),
        ("hyena", {"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
        ("hyena", {"order": 3}, "layer 'hyena' has no config key 'order'; its keys are inner_factor"),
    ],
)
def test_impossible_configs(name: str, config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **config)


@every_hyena
def test_too_long_inputs(name: str) -> None:
    layer = build(name)
    message = "the input has 21 positions, the layer was built with max_length=20"
    with pytest.raises(ValueError, match=message):
        layer(randn(1, 21, DIM))
    _, state = layer.prefill(randn(1, 15, DIM), layer.init_state(1))
    with pytest.raises(ValueError, match=message):
        layer.prefill(randn(1, 6, DIM), state)


@pytest.mark.parametrize(("name", "count"), {"hyena": 123_964, "mh-hyena": 30_478, "hyena-experts": 57_080}.items())
def test_parameters_of_mad(name: str, count: int) -> None:
    layer = build_layer(name, dim=128, max_length=50)
    assert sum(parameter.numel() for parameter in layer.parameters()) == count + 3 * 50
