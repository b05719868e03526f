from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.ops.ssd import ssd

DIM, LENGTH, BATCH = 12, 70, 2  # longer than a chunk


def build(**config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    heads = {} if "num_heads" in config or "head_dim" in config else {"num_heads": 4}
    layer = build_layer("mamba2", dim=DIM, max_length=LENGTH, **heads, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def definition(layer: nn.Module, x: Tensor, past: Tensor, S: Tensor, groups: int) -> list[Tensor]:
    """Output, last inputs of the convolution, state; one head after the other."""
    _, heads, modes, width = S.shape
    states, history, outputs = list(S.unbind(1)), list(past.unbind(1)), []
    for x_t in x.unbind(1):
        history.append(x_t @ layer.xBC.weight.T)
        taps = layer.conv.weight_CW.unbind(1)
        u = layer.conv.bias_C + sum(tap * old for tap, old in zip(taps, history[-len(taps) :], strict=True))
        u, B, C = (u * torch.sigmoid(u)).split([heads * width, groups * modes, groups * modes], -1)
        read = []
        for h in range(heads):
            own, group = slice(h * width, (h + 1) * width), h * groups // heads
            shared = slice(group * modes, (group + 1) * modes)
            dt = torch.log1p(torch.exp(x_t @ layer.dt.weight[h] + layer.dt_bias_H[h]))[:, None, None]
            written = torch.einsum("bn,bp->bnp", B[:, shared], u[:, own])
            states[h] = torch.exp(-dt * torch.exp(layer.A_log_H[h])) * states[h] + dt * written
            read.append(torch.einsum("bn,bnp->bp", C[:, shared], states[h]) + layer.D_H[h] * u[:, own])
        y = torch.cat(read, -1) * F.silu(x_t @ layer.z.weight.T)  # the gate first, then the norm over each group
        y = y.unflatten(-1, (groups, -1))
        y = (y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()).flatten(-2) * layer.norm.weight
        outputs.append(y @ layer.out.weight.T)
    past = torch.stack(history[LENGTH:], 1) if len(taps) > 1 else past
    return [torch.stack(outputs, 1), past, torch.stack(states, 1)]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"head_dim": 8, "conv_width": 1},
        {"num_groups": 2, "state_dim": 3, "conv_width": 2},
        {"num_heads": 3, "num_groups": 3, "expand": 1, "state_dim": 1, "conv_width": 3},
    ],
    ids=str,
)
def test_by_its_definition(config: dict[str, object]) -> None:
    layer = build(**config)
    state = {key: randn(*part.shape) for key, part in layer.init_state(BATCH).items()}
    inner, modes, groups = DIM * config.get("expand", 2), config.get("state_dim", 8), config.get("num_groups", 1)
    heads = inner // 8 if "head_dim" in config else config.get("num_heads", 4)
    assert state["S"].shape == (BATCH, heads, modes, inner // heads)
    assert state["conv"].shape == (BATCH, config.get("conv_width", 4) - 1, inner + 2 * groups * modes)
    x = randn(BATCH, LENGTH, DIM)
    expected, past, S = definition(layer, x, state["conv"], state["S"], groups)
    output, after = layer.prefill(x, state)
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"conv": past, "S": S}, atol=1e-9, rtol=1e-9)


def drawn_as_in_its_paper(layer: nn.Module) -> None:
    step, A = F.softplus(layer.dt_bias_H).detach(), layer.A_log_H.exp().detach()
    assert len(step) == len(A) == 1024
    assert 0.00099 < step.min() < 0.0012
    assert 0.085 < step.max() < 0.101
    assert float(step.log().mean()) == pytest.approx(math.log(0.01), abs=0.15)
    assert 0.9999 < A.min() < 1.2
    assert 15.8 < A.max() < 16.0001
    assert float(A.mean()) == pytest.approx(8.5, abs=0.5)
    assert (layer.D_H == 1).all()


@pytest.mark.parametrize("backbone", [None, LanguageModel, AutoEncoder])
def test_starts_as_in_its_paper(backbone: type[nn.Module] | None) -> None:
    torch.manual_seed(5)
    layer = build_layer("mamba2", dim=512, max_length=8, head_dim=1)
    if backbone is not None:
        backbone([layer], dim=512, vocab_size=5, max_length=8)
    drawn_as_in_its_paper(layer)
    assert not [name for name, part in layer.named_modules() if getattr(part, "bias", None) is not None]


def test_the_compatible_autoencoder_leaves_what_is_no_linear_map() -> None:
    torch.manual_seed(5)
    layer = build_layer("mamba2", dim=512, max_length=8, head_dim=1)
    AutoEncoder([layer], dim=512, vocab_size=5, max_length=8, compat=True)
    drawn_as_in_its_paper(layer)
    for linear in (layer.z, layer.xBC, layer.dt, layer.out):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_a_head_is_a_mamba_whose_channels_and_modes_share_one_rate(backend: str) -> None:
    x, B, C, S = randn(2, 20, 1, 5), randn(2, 20, 1, 3), randn(2, 20, 1, 3), randn(2, 1, 3, 5)
    dt, A = torch.rand(2, 20, 1).double(), torch.tensor([-0.7], dtype=torch.float64)
    y, behind = ssd(x, dt, A, B, C, S, backend=backend)
    rates = A.expand(5, 3)
    expected, modes = selective_scan(x[:, :, 0], dt.expand(2, 20, 5), rates, B[:, :, 0], C[:, :, 0], S[:, 0].mT)
    torch.testing.assert_close(y[:, :, 0], expected)
    torch.testing.assert_close(behind[:, 0], modes.mT)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, r"expand \* dim = 24 is not divisible by num_heads 5"),
        ({"head_dim": 5}, r"expand \* dim = 24 is not divisible by head_dim 5"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"num_groups": 3}, "num_heads 4 is not divisible by num_groups 3"),
        ({"num_groups": 0}, "num_groups must be a whole number of at least 1, not 0"),
        ({"conv_width": 0}, "conv_width must be a whole number of at least 1, not 0"),
        ({"state_dim": 0}, "state_dim must be a whole number of at least 1, not 0"),
        ({"expand": 0}, "expand must be a whole number of at least 1, not 0"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**config)
