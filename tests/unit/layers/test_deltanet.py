from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer
from pytest_mad.layers.ops.delta import delta_rule

LAYERS = ["deltanet", "gated-deltanet", "kda"]
DIM, HEADS, LENGTH, BATCH = 12, 3, 35, 2  # longer than a chunk
WIDTH = DIM // HEADS


def build(name: str, **config: object) -> nn.Module:
    """In float64, and no weight so small that a mistake would be, too."""
    torch.manual_seed(5)
    heads = {} if "num_heads" in config or "head_dim" in config else {"num_heads": HEADS}
    layer = build_layer(name, dim=DIM, max_length=LENGTH, **heads, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def heads(x: Tensor) -> Tensor:
    return x.view(len(x), HEADS, -1)


def unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def decay_and_gate(name: str, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """One decay per head or per key channel, and what the normed output is multiplied with."""
    if name == "deltanet":
        one = torch.ones(1, dtype=x.dtype)
        return one.view(1, 1, 1), one
    A = torch.exp(layer.A_log_H)[:, None]
    if name == "gated-deltanet":
        a = torch.exp(-A * heads(F.softplus(x @ layer.decay.weight.T + layer.dt_bias_H)))
        return a, F.silu(x @ layer.gate.weight.T)
    (down, up), (gate_down, gate_up) = layer.decay, layer.gate
    dt = F.softplus(x @ down.weight.T @ up.weight.T + layer.dt_bias_K)
    gate = torch.sigmoid(x @ gate_down.weight.T @ gate_up.weight.T + gate_up.bias)
    return torch.exp(-A * heads(dt)), gate


def definition(name: str, layer: nn.Module, x: Tensor, past: Tensor, S: Tensor, beta_max: int) -> list[Tensor]:
    """Output, last inputs of the convolution, state; every step multiplies the state by ``(1 - beta k^T k) diag(a)``."""
    values = S.shape[1] * S.shape[-1]
    history, outputs = list(past.unbind(1)), []
    for x_t in x.unbind(1):
        history.append(x_t @ layer.qkv.weight.T)
        taps = layer.conv.weight_CW.unbind(1)
        mixed = sum(tap * old for tap, old in zip(taps, history[-len(taps) :], strict=True))
        q, k, v = (heads(part) for part in F.silu(mixed).split([DIM, DIM, values], -1))
        q, k = unit(q), unit(k)
        beta = beta_max * torch.sigmoid(x_t @ layer.beta.weight.T)
        a, gate = decay_and_gate(name, layer, x_t)
        erase = torch.eye(WIDTH, dtype=x.dtype) - torch.einsum("bh,bhk,bhl->bhkl", beta, k, k)
        S = erase @ (a[..., None] * S) + torch.einsum("bh,bhk,bhv->bhkv", beta, k, v)
        o = torch.einsum("bhk,bhkv->bhv", q, S) / WIDTH**0.5
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight
        outputs.append((o.flatten(1) * gate) @ layer.out.weight.T)
    return [torch.stack(outputs, 1), torch.stack(history[LENGTH:], 1) if len(taps) > 1 else past, S]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "config",
    [{}, {"head_dim": 4}, {"expand_v": 2}, {"expand_v": 0.5, "conv_width": 1}, {"conv_width": 2}, {"conv_width": 3},
     {"allow_negative_eigenvalues": True}],
    ids=str,
)  # fmt: skip
def test_by_its_definition(name: str, config: dict[str, object]) -> None:
    layer = build(name, **config)
    state = {key: randn(*part.shape) for key, part in layer.init_state(BATCH).items()}
    x, beta_max = randn(BATCH, LENGTH, DIM), 2 if config.get("allow_negative_eigenvalues") else 1
    expected, past, S = definition(name, layer, x, state["conv"], state["S"], beta_max)
    output, after = layer.prefill(x, state)
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(after, {"conv": past, "S": S}, atol=1e-9, rtol=1e-9)
    assert past.shape[1] == config.get("conv_width", 4) - 1


@pytest.mark.parametrize("backbone", [None, LanguageModel, AutoEncoder])
@pytest.mark.parametrize(("name", "low"), [("gated-deltanet", 0), ("kda", 1)])
def test_rates_and_step_sizes_at_first(name: str, low: int, backbone: type[nn.Module] | None) -> None:
    torch.manual_seed(5)
    layer = build_layer(name, dim=1024, max_length=8, head_dim=1 if name == "gated-deltanet" else 2)
    if backbone is not None:
        backbone([layer], dim=1024, vocab_size=5, max_length=8)
    step = F.softplus(layer.dt_bias_H if name == "gated-deltanet" else layer.dt_bias_K).detach()
    assert len(step) == 1024
    assert 0.00099 < step.min() < 0.0012
    assert 0.085 < step.max() < 0.101
    assert float(step.log().mean()) == pytest.approx(-4.605, abs=0.15)  # of 0.01, between 0.001 and 0.1
    A = layer.A_log_H.exp().detach()
    assert low < A.min() < low + 0.5
    assert 15.5 < A.max() <= 16.0001
    assert float(A.mean()) == pytest.approx((low + 16) / 2, abs=0.7)


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
@pytest.mark.parametrize(("beta", "read"), [(0, [1.0, 0.0]), (0.5, [0.5, 0.5]), (1, [0.0, 1.0]), (2, [-1.0, 2.0])])
def test_a_second_value_of_a_key_replaces_the_first(beta: float, read: list[float], backend: str) -> None:
    """By as much as beta says; and the value of an orthogonal key stays."""
    keys = torch.linalg.qr(randn(4, 4)).Q
    one, two, other = randn(3, 5)
    k = torch.stack([keys[0], keys[1], keys[0]]).view(1, 3, 1, 4)
    v = torch.stack([one, other, two]).view(1, 3, 1, 5)
    betas = torch.tensor([1, 1, beta], dtype=torch.float64).view(1, 3, 1)
    _, S = delta_rule(k, k, v, betas, None, torch.zeros(1, 1, 4, 5, dtype=torch.float64), backend=backend)
    torch.testing.assert_close(keys[0] @ S[0, 0], read[0] * one + read[1] * two)
    torch.testing.assert_close(keys[1] @ S[0, 0], other)


def test_the_state_decays_before_the_old_value_is_taken_out() -> None:
    """What a key reads is its new value, then, however much has been forgotten."""
    k, v, S = unit(randn(1, 1, 1, 4)), randn(1, 1, 1, 5), 1e3 * randn(1, 1, 4, 5)
    k = k / k.norm()
    read, _ = delta_rule(k, k, v, torch.ones(1, 1, 1, dtype=k.dtype), torch.full_like(k[..., :1], -0.3), S)
    torch.testing.assert_close(read, v)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 5}, "dim 12 is not divisible by num_heads 5"),
        ({"head_dim": 5}, "dim 12 is not divisible by head_dim 5"),
        ({"num_heads": 4, "expand_v": 0.5}, r"expand_v \* dim = 6 is not divisible by num_heads 4"),
        ({"num_heads": 3, "head_dim": 4}, "give exactly one of num_heads and head_dim, not num_heads=3, head_dim=4"),
        ({"conv_width": 0}, "conv_width must be a whole number of at least 1, not 0"),
        ({"expand_v": 0}, "expand_v must be positive, not 0"),
        ({"backend": "fast"}, "backend must be one of auto, reference, kernel, not 'fast'"),
    ],
)
def test_impossible_configs(name: str, config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **config)
