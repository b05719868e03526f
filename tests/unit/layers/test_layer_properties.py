"""What every registered layer must do; a new layer is tested by being registered."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_mad.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer, layer_names

DIM, MAX_LENGTH = 32, 40  # longer than the sliding window of 32

# Float64 throughout: what remains is the order of summation (FFT convolutions need the most room)
TOLERANCE = {"atol": 1e-9, "rtol": 1e-9}

every_layer = pytest.mark.parametrize("name", layer_names())


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_layer(name, dim=DIM, max_length=MAX_LENGTH)


def jittered(name: str) -> nn.Module:
    """In float64, and with no weight at a special value: a leak behind a zero-initialised projection would not show."""
    layer = build(name).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def inputs(batch: int, length: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, length, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_layer
@pytest.mark.parametrize("length", [1, 2, 17, MAX_LENGTH - 1, MAX_LENGTH])
@pytest.mark.parametrize("batch", [1, 3])
def test_shape_and_dtype(name: str, batch: int, length: int) -> None:
    layer = build(name)
    for dtype in (torch.float32, torch.float64):
        output = layer.to(dtype)(inputs(batch, length).to(dtype))
        assert output.shape == (batch, length, DIM)
        assert output.dtype == dtype
        assert output.isfinite().all()


@every_layer
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_no_output_depends_on_later_inputs(name: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(2, MAX_LENGTH))
    first_changed = data.draw(st.integers(1, length - 1))
    layer, x = jittered(name), inputs(2, length)
    changed = x.clone()
    changed[:, first_changed:] = inputs(2, length, seed=2)[:, first_changed:]
    before, after = layer(x), layer(changed)
    torch.testing.assert_close(before[:, :first_changed], after[:, :first_changed], **TOLERANCE)
    assert not torch.allclose(before[:, first_changed:], after[:, first_changed:])


@every_layer
def test_a_shorter_input_gives_the_beginning_of_the_output(name: str) -> None:
    layer, x = jittered(name), inputs(2, MAX_LENGTH)
    torch.testing.assert_close(layer(x[:, :13]), layer(x)[:, :13], **TOLERANCE)


@every_layer
def test_sequences_of_a_batch_are_independent(name: str) -> None:
    layer, x = jittered(name), inputs(3, 21)
    alone = torch.cat([layer(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(layer(x), alone, **TOLERANCE)


@every_layer
def test_every_row_of_every_weight_learns(name: str) -> None:
    layer = build(name)
    seen = {key: torch.zeros(parameter.shape[:1]) for key, parameter in layer.named_parameters()}
    for seed in range(3):
        layer.zero_grad()
        layer(inputs(4, MAX_LENGTH, seed).float()).square().mean().backward()
        for key, parameter in layer.named_parameters():
            assert parameter.grad is not None, f"{key} is not used"
            assert parameter.grad.isfinite().all(), key
            seen[key] += parameter.grad.abs().reshape(len(parameter), -1).sum(1)
    assert not [key for key, gradient in seen.items() if (gradient == 0).any()]


@every_layer
@pytest.mark.parametrize("backbone", [LanguageModel, AutoEncoder])
def test_initialisation_survives_the_backbone(name: str, backbone: type[nn.Module]) -> None:
    layer = build(name)
    before = copy.deepcopy(layer.state_dict())
    backbone([layer], dim=DIM, vocab_size=7, max_length=MAX_LENGTH)
    for key, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@every_layer
def test_same_seed_same_layer_same_output(name: str) -> None:
    x = inputs(2, 9).float()
    torch.testing.assert_close(build(name)(x), build(name)(x), rtol=0, atol=0)
    assert not torch.equal(build(name)(x), build(name, seed=1)(x))


@every_layer
def test_evaluation_is_repeatable(name: str) -> None:
    layer, x = build(name).eval(), inputs(2, 9).float()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


@every_layer
def test_plain_linear_biases_start_at_zero(name: str) -> None:
    """Except where a layer marks a bias as its own initialisation."""
    linears = [module for module in build(name).modules() if isinstance(module, nn.Linear) and module.bias is not None]
    special = [linear for linear in linears if getattr(linear.bias, "_no_reinit", False)]
    assert all((linear.bias == 0).all() for linear in linears if linear not in special)


@every_layer
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu(name: str) -> None:
    layer, x = build(name), inputs(2, 33).float()
    torch.testing.assert_close(layer.cuda()(x.cuda()).cpu(), layer.cpu()(x), atol=1e-4, rtol=1e-3)


@every_layer
def test_bfloat16_autocast_runs(name: str) -> None:
    layer, x = build(name), inputs(2, 33).float()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.shape == x.shape
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("name", "count"),
    {
        "attention": 66_048,
        "mh-attention": 66_048,
        "sliding-attention": 66_048,
        "mh-sliding-attention": 66_048,
        "linear-attention": 131_584,
        "mh-linear-attention": 65_824,
        "mlp": 131_072,
        "swiglu": 135_168,
        "moe-mlp": 165_000 - 8 * 16,  # without MAD-Lab's unused `gates`
    }.items(),
)
def test_parameter_counts_of_mad(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in build_layer(name, dim=128).parameters()) == count
