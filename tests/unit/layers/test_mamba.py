from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer, mamba
from pytest_mad.layers.ops.selective_scan import selective_scan

DIM, LENGTH, BATCH = 12, 35, 2


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    layer = build_layer("mamba", dim=DIM, max_length=LENGTH, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def definition(layer: nn.Module, x: Tensor, past: Tensor, h: Tensor, rank: int) -> list[Tensor]:
    """Output, last inputs of the convolution, state; one mode after the other."""
    modes = h.shape[-1]
    W_x, W_z = layer.xz.weight.chunk(2)
    W_dt, W_B, W_C = layer.select.weight.split([rank, modes, modes])
    A = -torch.exp(layer.A_log_CN)
    history, outputs = list(past.unbind(1)), []
    for x_t in x.unbind(1):
        history.append(x_t @ W_x.T)
        taps = layer.conv.weight_CW.unbind(1)
        u = layer.conv.bias_C + sum(tap * old for tap, old in zip(taps, history[-len(taps) :], strict=True))
        u = u * torch.sigmoid(u)
        dt = torch.log1p(torch.exp(u @ W_dt.T @ layer.dt.weight.T + layer.dt.bias))
        B, C = u @ W_B.T, u @ W_C.T
        h = torch.stack(
            [torch.exp(dt * A[:, n]) * h[..., n] + dt * B[:, n : n + 1] * u for n in range(modes)],
            -1,
        )
        y = torch.einsum("bcn,bn->bc", h, C) + layer.D_C * u
        z = x_t @ W_z.T
        outputs.append((y * z * torch.sigmoid(z)) @ layer.out.weight.T)
    return [torch.stack(outputs, 1), torch.stack(history[LENGTH:], 1) if len(taps) > 1 else past, h]


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({}, 1),
        ({"state_dim": 1, "conv_width": 1}, 1),
        ({"state_dim": 7, "expand": 1, "conv_width": 2}, 1),
        ({"expand": 3, "conv_width": 3, "dt_rank": 5}, 5),
    ],
)
def test_by_its_definition(config: dict[str, object], rank: int) -> None:
    layer = build(**config)
    state = {key: randn(*part.shape) for key, part in layer.init_state(BATCH).items()}
    channels, width = DIM * config.get("expand", 2), config.get("conv_width", 4)
    assert state["conv"].shape == (BATCH, width - 1, channels)
    assert state["h"].shape == (BATCH, channels, config.get("state_dim", 4))
    x = randn(BATCH, LENGTH, DIM)
    expected, past, h = definition(layer, x, state["conv"], state["h"], rank)
    output, after = layer.prefill(x, state)
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"conv": past, "h": h}, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("backbone", [None, LanguageModel, AutoEncoder])
def test_starts_as_in_its_paper(backbone: type[nn.Module] | None) -> None:
    torch.manual_seed(5)
    layer = build_layer("mamba", dim=512, max_length=8)
    if backbone is not None:
        backbone([layer], dim=512, vocab_size=5, max_length=8)
    step = F.softplus(layer.dt.bias).detach()
    assert 0.00099 < step.min() < 0.0012
    assert 0.085 < step.max() < 0.101
    assert float(step.log().mean()) == pytest.approx(math.log(0.01), abs=0.15)
    assert float(step.log().std()) == pytest.approx(math.log(100) / 12**0.5, rel=0.05)
    assert layer.dt.weight.shape == (1024, 32)
    assert 0.99 * 32**-0.5 < layer.dt.weight.abs().max() <= 32**-0.5
    torch.testing.assert_close(layer.A_log_CN.exp(), torch.tensor([1.0, 2, 3, 4]).expand(1024, 4))
    assert (layer.D_C == 1).all()
    assert [name for name, part in layer.named_modules() if getattr(part, "bias", None) is not None] == ["dt"]
    assert layer.conv.bias_C.abs().max() <= 0.5  # as a convolution of four taps is drawn
    assert layer.conv.bias_C.abs().max() > 0.49


def test_the_compatible_autoencoder_loses_the_step_sizes() -> None:
    torch.manual_seed(5)
    layer = build_layer("mamba", dim=128, max_length=8)
    kept = {key: part.clone() for key, part in layer.named_parameters() if key.startswith(("A", "D", "conv"))}
    AutoEncoder([layer], dim=128, vocab_size=5, max_length=8, compat=True)
    torch.testing.assert_close(F.softplus(layer.dt.bias), torch.full((256,), math.log(2)))
    for linear in (layer.xz, layer.select, layer.dt, layer.out):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert len(kept) == 4
    assert all(torch.equal(layer.get_parameter(key), part) for key, part in kept.items())


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_a_step_of_zero_skips_a_token_and_a_large_one_starts_anew(backend: str) -> None:
    x, B, C, h = randn(1, 9, 3), randn(1, 9, 4), randn(1, 9, 4), randn(1, 3, 4)
    A = -torch.arange(1.0, 5).double().expand(3, 4)
    y, after = selective_scan(x, torch.zeros_like(x), A, B, C, h, backend=backend)
    torch.testing.assert_close(after, h)
    torch.testing.assert_close(y, torch.einsum("bcn,btn->btc", h, C))
    _, after = selective_scan(x, torch.full_like(x, 1e3), A, B, C, h, backend=backend)
    torch.testing.assert_close(after, 1e3 * torch.einsum("bc,bn->bcn", x[:, -1], B[:, -1]))


def test_noise_between_tokens_is_skipped() -> None:
    """The selection that the paper is named for: tokens whose step is zero might as well not be there."""
    x, B, C, step, h = randn(1, 9, 3), randn(1, 9, 4), randn(1, 9, 4), torch.rand(1, 9, 3).double(), randn(1, 3, 4)
    A, kept = -torch.rand(3, 4).double(), [0, 3, 4, 8]
    noise = torch.ones(9, 1).index_fill(0, torch.tensor(kept), 0).bool()
    y, _ = selective_scan(x, step.masked_fill(noise, 0), A, B, C, h)
    alone, _ = selective_scan(x[:, kept], step[:, kept], A, B[:, kept], C[:, kept], h)
    torch.testing.assert_close(y[:, kept], alone)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"conv_width": 0}, "conv_width must be a whole number of at least 1, not 0"),
        ({"state_dim": 0}, "state_dim must be a whole number of at least 1, not 0"),
        ({"expand": 0}, "expand must be a whole number of at least 1, not 0"),
        ({"expand": 1.5}, "expand must be a whole number of at least 1, not 1.5"),
        ({"dt_rank": 0}, "dt_rank must be a whole number of at least 1, not 0"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
        ({"num_heads": 2}, "layer 'mamba' has no config key 'num_heads'; its keys are state_dim, expand, "),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)


def test_step_sizes_keep_their_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias added in half precision moves small steps by more than a per cent."""
    seen, real = [], mamba.selective_scan

    def scan(x_BTC: Tensor, dt_BTC: Tensor, *rest: Tensor | None, backend: str) -> tuple[Tensor, Tensor]:
        seen.append(dt_BTC.float())
        return real(x_BTC, dt_BTC, *rest, backend=backend)

    monkeypatch.setattr(mamba, "selective_scan", scan)
    torch.manual_seed(0)
    layer, x = build_layer("mamba", dim=128, max_length=16), torch.randn(2, 16, 128)
    layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    exact, half = seen
    assert ((half - exact).abs() / exact).mean() < 2e-3
