from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer

DIM, HEADS, LENGTH, BATCH = 12, 3, 19, 2
WIDTH = DIM // HEADS

LAYERS = ["rwkv5-time-mixer", "rwkv5-channel-mixer", "rwkv6-time-mixer", "rwkv6-channel-mixer", "rwkv7-time-mixer"]
TIME_MIXERS = [name for name in LAYERS if "time" in name]


def build(name: str) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    layer = build_layer(name, dim=DIM, max_length=LENGTH, **({"num_heads": HEADS} if name in TIME_MIXERS else {}))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer.double()


def inputs(layer: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """A sequence, and a state as if another one had gone before."""
    state = {key: torch.randn(part.shape, dtype=part.dtype) for key, part in layer.init_state(BATCH).items()}
    return torch.randn(BATCH, LENGTH, DIM, dtype=torch.float64), state


def heads(x_BD: Tensor) -> Tensor:
    return x_BD.view(BATCH, HEADS, WIDTH)


def linear(part: nn.Linear, x: Tensor) -> Tensor:
    return torch.einsum("oi,bi->bo", part.weight, x)


def group_norm(layer: nn.Module, o_BHV: Tensor, *, divisor: float, eps: float) -> Tensor:
    return F.group_norm(o_BHV.flatten(1) / divisor, HEADS, layer.norm.weight, layer.norm.bias, eps)


def rwkv5_step(layer: nn.Module, x: Tensor, last: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    r, k, v, g = (
        linear(part, x * m + last * (1 - m))
        for part, m in zip((layer.r, layer.k, layer.v, layer.gate), layer.mu_CD, strict=True)
    )
    r, k, v = heads(r), heads(k), heads(v)
    written = torch.einsum("bhk,bhv->bhkv", k, v)
    o = torch.einsum("bhk,bhkv->bhv", r, S + torch.einsum("hk,bhkv->bhkv", layer.bonus_HK, written))
    w = torch.exp(-torch.exp(layer.decay_D)).view(1, HEADS, WIDTH, 1)
    return linear(layer.out, group_norm(layer, o, divisor=8, eps=1e-5) * F.silu(g)), w * S + written


def rwkv6_step(layer: nn.Module, x: Tensor, last: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    dx = last - x
    offsets = torch.tanh((x + dx * layer.mu_z_D) @ layer.mix_down_DR).view(BATCH, 5, -1)
    xr, xk, xv, xg, xw = (x + dx * (layer.mu_CD[c] + offsets[:, c] @ layer.mix_up_5RD[c]) for c in range(5))
    d = layer.decay_D + torch.tanh(xw @ layer.decay.down_DR) @ layer.decay.up_RD
    r, k, v = heads(linear(layer.r, xr)), heads(linear(layer.k, xk)), heads(linear(layer.v, xv))
    written = torch.einsum("bhk,bhv->bhkv", k, v)
    o = torch.einsum("bhk,bhkv->bhv", r, S + torch.einsum("hk,bhkv->bhkv", layer.bonus_HK, written))
    y = group_norm(layer, o, divisor=1, eps=64e-5) * F.silu(linear(layer.gate, xg))
    return linear(layer.out, y), torch.exp(-torch.exp(heads(d)))[..., None] * S + written


def rwkv7_step(layer: nn.Module, x: Tensor, last: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    xr, xk, xv, xw, xa, xg = (x + (last - x) * mu for mu in layer.mu_CD)
    r, k, v = linear(layer.r, xr), linear(layer.k, xk), linear(layer.v, xv)
    d = layer.decay_D + torch.tanh(xw @ layer.decay.down_DR) @ layer.decay.up_RD
    w = torch.exp(-torch.sigmoid(d) / math.sqrt(math.e))
    a = torch.sigmoid(layer.rate_D + xa @ layer.rate.down_DR @ layer.rate.up_RD)
    gate = torch.sigmoid(xg @ layer.gate.down_DR) @ layer.gate.up_RD
    n = heads(k * layer.xi_D)
    n = n / n.square().sum(-1, keepdim=True).sqrt()
    k = k + k * (a - 1) * layer.alpha_D
    r, k, v, w, a = heads(r), heads(k), heads(v), heads(w), heads(a)
    transition = torch.diag_embed(w) - torch.einsum("bhi,bhj->bhij", a * n, n)
    S = torch.einsum("bhij,bhjv->bhiv", transition, S) + torch.einsum("bhk,bhv->bhkv", k, v)
    o = group_norm(layer, torch.einsum("bhk,bhkv->bhv", r, S), divisor=1, eps=64e-5)
    present = torch.einsum("bhk,hk,bhk->bh", r, layer.bonus_HK, k)[..., None] * v
    return linear(layer.out, (o + present.flatten(1)) * gate), S


STEPS = {"rwkv5-time-mixer": rwkv5_step, "rwkv6-time-mixer": rwkv6_step, "rwkv7-time-mixer": rwkv7_step}


@pytest.mark.parametrize("name", TIME_MIXERS)
def test_time_mixer_by_its_definition(name: str) -> None:
    layer = build(name)
    x, state = inputs(layer)
    last, S, expected = state["shift"], state["S"], []
    for t in range(LENGTH):
        y, S = STEPS[name](layer, x[:, t], last, S)
        last = x[:, t]
        expected.append(y)
    output, after = layer.prefill(x, state)
    torch.testing.assert_close(output, torch.stack(expected, 1), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"shift": last, "S": S}, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["rwkv5-channel-mixer", "rwkv6-channel-mixer"])
def test_channel_mixer_by_its_definition(name: str) -> None:
    layer = build(name)
    x, state = inputs(layer)
    output, after = layer.prefill(x, state)
    mu_r, mu_k = layer.mu_CD if name.startswith("rwkv5") else 1 - layer.mu_CD
    for t in range(LENGTH):
        last = x[:, t - 1] if t else state["shift"]
        r = linear(layer.r, x[:, t] * mu_r + last * (1 - mu_r))
        k = linear(layer.k, x[:, t] * mu_k + last * (1 - mu_k))
        y = torch.sigmoid(r) * linear(layer.v, F.relu(k) ** 2)
        torch.testing.assert_close(output[:, t], y, atol=1e-9, rtol=1e-9)
    assert torch.equal(after["shift"], x[:, -1])


@pytest.mark.parametrize("name", LAYERS)
def test_before_the_first_token_is_zero(name: str) -> None:
    layer = build(name)
    assert all((part == 0).all() and part.dtype == torch.float64 for part in layer.init_state(BATCH).values())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rwkv5-time-mixer", 82_944),
        ("rwkv6-time-mixer", 140_544),
        ("rwkv5-channel-mixer", 147_712),
        ("rwkv6-channel-mixer", 147_712),
        ("rwkv7-time-mixer", 4 * 128**2 + 2 * 128 * (32 + 32 + 64) + (6 + 2 + 2 + 1 + 2) * 128),
    ],
)
def test_parameter_counts(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in build_layer(name, dim=128).parameters()) == count


@pytest.mark.parametrize("name", LAYERS)
def test_state_sizes(name: str) -> None:
    layer = build_layer(name, dim=128)
    shapes = {key: tuple(part.shape) for key, part in layer.init_state(3).items()}
    assert shapes == {"shift": (3, 128)} | ({"S": (3, 8, 16, 16)} if name in TIME_MIXERS else {})
    assert layer.state_size() == 128 + (2_048 if name in TIME_MIXERS else 0)


@pytest.fixture(params=[None, LanguageModel, AutoEncoder], ids=["alone", "language-model", "autoencoder"])
def fresh(request: pytest.FixtureRequest):
    """Builds a layer at width 128, alone or inside a model."""

    def make(name: str) -> nn.Module:
        layer = build_layer(name, dim=128, max_length=8)
        if request.param is not None:
            request.param([layer], dim=128, vocab_size=5, max_length=8)
        return layer

    return make


def close(actual: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual.detach().flatten(), torch.tensor(expected), atol=1e-6, rtol=1e-5)


def uniform(matrix: Tensor, bound: float) -> None:
    """Thousands of draws from U(-bound, bound): none outside, some near both ends, as spread out as they should be."""
    assert matrix.abs().max() <= bound
    assert matrix.max() > 0.99 * bound
    assert matrix.min() < -0.99 * bound
    assert float(matrix.detach().std() / bound) == pytest.approx(3**-0.5, rel=0.05)


def test_rwkv5_time_mixer_starts_as_in_mad(fresh) -> None:
    layer = fresh("rwkv5-time-mixer")
    for mu_D, power in zip(layer.mu_CD, (0.5, 1, 1, 0.5), strict=True):
        close(mu_D, [(i / 128) ** power for i in range(128)])
    close(layer.decay_D, [-6 + 5 * (n / 127) ** 0.7 for n in range(128)])
    close(layer.bonus_HK, [0.1 * ((n + 1) % 3 - 1) for n in range(128)])
    assert layer.bonus_HK.shape == (8, 16)
    assert layer.norm.eps == 64e-5


def test_rwkv6_time_mixer_starts_as_in_mad(fresh) -> None:
    layer = fresh("rwkv6-time-mixer")
    for mu_D, power in zip((layer.mu_z_D, *layer.mu_CD), (1, 0.5, 1, 1, 0.5, 1), strict=True):
        close(mu_D, [1 - (i / 128) ** power for i in range(128)])
    close(layer.decay_D, [-6 + 5 * (n / 127) ** 0.7 for n in range(128)])
    close(layer.bonus_HK, [0.1 * ((n + 1) % 3 - 1) for n in range(128)])
    for matrix in (layer.mix_down_DR, layer.mix_up_5RD, layer.decay.down_DR, layer.decay.up_RD):
        uniform(matrix, 1e-4)
    assert layer.mix_up_5RD.shape == (5, 32, 128)
    assert layer.decay.up_RD.shape == (64, 128)
    assert layer.norm.eps == 64e-5


def test_channel_mixers_start_as_in_mad(fresh) -> None:
    for mu_D in fresh("rwkv5-channel-mixer").mu_CD:
        close(mu_D, [i / 128 for i in range(128)])
    for mu_D in fresh("rwkv6-channel-mixer").mu_CD:
        close(mu_D, [1 - i / 128 for i in range(128)])
    assert fresh("rwkv6-channel-mixer").k.out_features == 512
    assert build_layer("rwkv5-channel-mixer", dim=32, dim_inner=20).v.in_features == 20


def test_rwkv7_time_mixer_starts_as_a_first_layer(fresh) -> None:
    layer = fresh("rwkv7-time-mixer")
    for mu_D, power in zip(layer.mu_CD, (0.2, 0.7, 0.7, 0.9, 0.9, 0.2), strict=True):
        close(mu_D, [1 - (i / 128) ** power for i in range(128)])
    zigzag = [((n % 16) - 7.5) / 7.5 * abs(((n % 16) - 7.5) / 7.5) for n in range(128)]
    rise = [n / 127 - 0.5 for n in range(128)]
    close(layer.decay_D, [-6 + 6 * n / 127 + 0.5 + 2.5 * z for n, z in enumerate(zigzag)])
    close(layer.rate_D, [-0.19 + 0.3 * z + 0.4 * x for z, x in zip(zigzag, rise, strict=True)])
    close(layer.xi_D, [0.71 - 0.1 * x for x in rise])
    close(layer.alpha_D, [1.02] * 128)
    close(layer.bonus_HK, [-0.04] * 128)
    assert layer.norm.eps == 64e-5


def test_matrices_of_rwkv7(fresh) -> None:
    layer = fresh("rwkv7-time-mixer")
    for part, bound in ((layer.r, 0.5), (layer.k, 0.05), (layer.v, 0.5), (layer.out, 0.5)):
        uniform(part.weight, bound / math.sqrt(128))
    for part, rank in ((layer.decay, 32), (layer.rate, 32), (layer.gate, 64)):
        uniform(part.down_DR, 1e-4)
        torch.testing.assert_close(part.up_RD @ part.up_RD.mT, 0.01 * torch.eye(rank), atol=1e-6, rtol=0)


def test_a_rank_above_the_width_keeps_its_columns_orthogonal() -> None:
    up_RD = build_layer("rwkv7-time-mixer", dim=32).gate.up_RD
    torch.testing.assert_close(up_RD.mT @ up_RD, 0.01 * 64 / 32 * torch.eye(32), atol=1e-6, rtol=0)


def test_the_decay_of_rwkv7_is_bounded_and_keeps_at_least_half() -> None:
    layer = build("rwkv7-time-mixer")
    x, state = inputs(layer)
    with torch.no_grad():
        layer.decay_D.fill_(1e3)
        layer.rate_D.fill_(-1e3)  # nothing is taken out
        layer.v.weight.zero_()  # and nothing put in
        _, after = layer.step(x[:, 0], state)
    torch.testing.assert_close(after["S"], math.exp(-math.exp(-0.5)) * state["S"])


@pytest.mark.parametrize("name", TIME_MIXERS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 8}, "dim 12 is not divisible by num_heads 8"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim"),
        ({"num_heads": 3, "backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(name: str, config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_layer(name, dim=DIM, **config)


@pytest.mark.parametrize("name", LAYERS)
def test_steps_in_float32_give_what_a_whole_sequence_gives(name: str) -> None:
    layer = build(name).float()
    x, state = inputs(layer)
    x, outputs = x.float(), []
    whole, _ = layer.prefill(x, state)
    for t in range(LENGTH):
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    expected = torch.stack(outputs, 1)
    assert (whole - expected).abs().max() <= 1e-5 * expected.abs().max()
