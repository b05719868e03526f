"""What every registered layer must do; a new layer is tested by being registered."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer, layer_names, registry
from pytest_mad.layers.mixer import Mixer, State

DIM, MAX_LENGTH = 32, 40  # longer than the sliding window of 32

# Float64 throughout: what remains is the order of summation (FFT convolutions need the most room)
TOLERANCE = {"atol": 1e-9, "rtol": 1e-9}

every_layer = pytest.mark.parametrize("name", layer_names())
# The layers whose own configuration divides by a sum of any sign: near zero no float32 is precise enough
WELL_CONDITIONED = {name: {"feature_map": "elu"} for name in ("linear-attention", "mh-linear-attention")}

few_examples = settings(max_examples=5, deadline=None, derandomize=True, database=None)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def build(name: str, seed: int = 0, **config: Any) -> Mixer:
    torch.manual_seed(seed)
    layer = build_layer(name, **{"dim": DIM, "max_length": MAX_LENGTH, **config})
    assert isinstance(layer, Mixer)
    return layer


def jittered(name: str, **config: Any) -> Mixer:
    """In float64, and with no weight at a special value: a leak behind a zero-initialised projection would not show."""
    layer = build(name, **config).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def inputs(batch: int, length: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, length, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(layer: Mixer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Like `prefill`, one step after the other."""
    outputs = [x[:, :0]]
    for x_t in x.unbind(1):
        y_t, state = layer.step(x_t, state)
        outputs.append(y_t[:, None])
    return torch.cat(outputs, 1), state


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Relative to the largest number: the others are sums in which as large ones cancel."""
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    if expected.numel():
        error = ((actual - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
        assert error <= tolerance, f"{what} differs by {error:.1e} of its largest number"


def assert_states_close(actual: State, expected: State, tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for key, part in expected.items():
        assert_close(actual[key], part, tolerance, key)


def floats(state: State) -> list[Tensor]:
    return [part for part in state.values() if part.is_floating_point()]


def documentation(layer: Mixer) -> str:
    return "\n".join(base.__doc__ or "" for base in type(layer).__mro__)


def copied(state: State) -> State:
    return {key: part.clone() for key, part in state.items()}


@contextmanager
def every_warning() -> Iterator[None]:
    """Torch tells most things once per process; here they must show for the layer that causes them."""
    torch.set_warn_always(True)
    try:
        yield
    finally:
        torch.set_warn_always(False)


@every_layer
@pytest.mark.parametrize("length", [1, 2, 17, MAX_LENGTH - 1, MAX_LENGTH])
@pytest.mark.parametrize("batch", [1, 3])
def test_shape_and_dtype(name: str, batch: int, length: int) -> None:
    layer = build(name)
    for dtype in (torch.float32, torch.float64):
        x = inputs(batch, length).to(dtype)
        output, state = layer.to(dtype).prefill(x, layer.init_state(batch))
        assert torch.equal(layer(x), output)
        assert output.shape == (batch, length, DIM)
        assert output.dtype == dtype
        assert output.isfinite().all()
        assert all(part.dtype == dtype for part in floats(state))
        assert layer.step(x[:, 0], layer.init_state(batch))[0].dtype == dtype


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
@few_examples
@given(length=st.integers(1, MAX_LENGTH), share=st.floats(0, 1))
@example(length=MAX_LENGTH, share=0.9)  # the state of a sliding window is full at the split, and of one chunk as well
@example(length=2, share=0.5)
def test_parallel_and_recurrent_forms_agree_across_any_split(name: str, length: int, share: float) -> None:
    split = round(share * (length - 1))
    with torch.no_grad():
        for dtype, tolerance, config in ((torch.float64, 1e-9, {}), (torch.float32, 1e-5, WELL_CONDITIONED)):
            layer, x = jittered(name, **config.get(name, {})).to(dtype), inputs(2, length).to(dtype)
            start = layer.init_state(2)
            whole, behind = layer.prefill(x, start)
            assert_close(layer(x), whole, 0, "forward")

            steps, behind_steps = walk(layer, x, start)
            assert_close(steps, whole, tolerance, "steps")
            assert_states_close(behind_steps, behind, tolerance)

            if split == 0:
                continue
            first, between = layer.prefill(x[:, :split], start)
            for going_on in (layer.prefill, lambda *rest, layer=layer: walk(layer, *rest)):
                rest, behind_rest = going_on(x[:, split:], between)
                assert_close(torch.cat([first, rest], 1), whole, tolerance, "prefill and rest")
                assert_states_close(behind_rest, behind, tolerance)


@every_layer
def test_gradients_go_through_the_state(name: str) -> None:
    """As they go through one long input: neither the state nor what is written to it is detached."""
    layer, x = jittered(name), inputs(2, 23).requires_grad_()
    target = inputs(2, 23, seed=2)
    leaves = [x, *layer.parameters()]
    whole = torch.autograd.grad((layer(x) * target).sum(), leaves)
    first, state = layer.prefill(x[:, :9], layer.init_state(2))
    rest, state = layer.prefill(x[:, 9:-1], state)
    last, state = layer.step(x[:, -1], state)
    y = torch.cat([first, rest, last[:, None]], 1)
    for one, other in zip(torch.autograd.grad((y * target).sum(), leaves), whole, strict=True):
        assert other.isfinite().all()
        assert_close(one, other, 1e-8)


@every_layer
def test_gradients_of_the_state_are_finite(name: str) -> None:
    """Of the empty state too, where roots and norms have no slope."""
    layer, x = jittered(name).float(), inputs(2, 6).float()
    _, later = layer.prefill(x, layer.init_state(2))
    for state in (layer.init_state(2), later):
        leaves = [part.detach().requires_grad_() for part in floats(state) if part.numel()]
        if not leaves:
            continue
        own = iter(leaves)
        start = {key: next(own) if part.is_floating_point() and part.numel() else part for key, part in state.items()}
        y, behind = layer.prefill(x, start)
        total = y.square().sum() + sum(part.sum() for part in floats(behind))
        gradients = torch.autograd.grad(total, leaves, materialize_grads=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any((gradient != 0).any() for gradient in gradients)


@every_layer
def test_a_state_can_be_used_again(name: str) -> None:
    """Nothing is written into it, so that one prompt can be continued in many ways."""
    layer, x = jittered(name), inputs(2, 12)
    for state in (layer.init_state(2), layer.prefill(x, layer.init_state(2))[1]):
        before = copied(state)
        layer.prefill(x, state)
        layer.step(x[:, 0], state)
        layer.prefill(x[:, :1], state)
        assert_states_close(state, before, 0)


@every_layer
def test_sequences_can_be_taken_out_of_a_state(name: str) -> None:
    """Parts of a state are batched along their first axis, or are the same for all sequences and have no axis."""
    layer, x = jittered(name), inputs(3, 20)
    chosen = torch.tensor([2, 0])
    _, state = layer.prefill(x[:, :8], layer.init_state(3))
    assert all(part.dim() == 0 or len(part) == 3 for part in state.values())
    fewer = {key: part[chosen] if part.dim() else part for key, part in state.items()}
    one, _ = layer.prefill(x[chosen, 8:], fewer)
    torch.testing.assert_close(one, layer.prefill(x[:, 8:], state)[0][chosen], **TOLERANCE)


@every_layer
def test_state_size_is_what_a_step_keeps(name: str) -> None:
    layer, x = build(name), inputs(1, MAX_LENGTH).float()
    sizes = []
    state = layer.init_state(1)
    with torch.no_grad():
        for x_t in x.unbind(1):
            _, state = layer.step(x_t, state)
            sizes.append(sum(part.numel() for part in floats(state)))
        _, state = layer.prefill(x, layer.init_state(1))
    assert sizes[-1] == sum(part.numel() for part in floats(state))
    if layer.state_size() is None:
        assert sizes == sorted(set(sizes))
        assert "grows with the sequence" in documentation(layer)
    else:
        filled = getattr(layer, "window", 1) - 1  # only a sliding window has to fill first
        assert set(sizes[filled:]) == {layer.state_size()}


@every_layer
def test_max_length_only_bounds(name: str) -> None:
    """And where it does not even do that, the docstring says so."""
    small, large = jittered(name, max_length=8), jittered(name, max_length=MAX_LENGTH)
    x = inputs(2, 9)
    same_shapes = all(part.shape == large.state_dict()[key].shape for key, part in small.state_dict().items())
    if same_shapes:
        large.load_state_dict(small.state_dict())
        torch.testing.assert_close(small(x[:, :8]), large(x[:, :8]), **TOLERANCE)
    if re.search(r"max_length: longest input; .* (does not need it|has no use for it)", documentation(small)):
        assert same_shapes
        torch.testing.assert_close(small(x), large(x), **TOLERANCE)
        return
    message = "the input has 9 positions, the layer was built with max_length=8"
    with pytest.raises(ValueError, match=message):
        small(x)
    _, full = small.prefill(x[:, :8], small.init_state(2))
    with pytest.raises(ValueError, match=message):
        small.step(x[:, 8], full)


@every_layer
def test_every_row_of_every_weight_learns(name: str) -> None:
    """Within five steps of training: the first ones only reach what is behind a factor that starts at zero."""
    layer = build(name)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    seen = {key: torch.zeros(parameter.shape[:1]) for key, parameter in layer.named_parameters()}
    for seed in range(5):
        optimizer.zero_grad()
        (layer(inputs(4, MAX_LENGTH, seed).float()) - inputs(4, MAX_LENGTH, seed + 5)).square().mean().backward()
        for key, parameter in layer.named_parameters():
            assert parameter.grad is not None, f"{key} is not used"
            assert parameter.grad.isfinite().all(), key
            seen[key] += parameter.grad.abs().reshape(len(parameter), -1).sum(1)
        optimizer.step()
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
def test_state_dict_round_trip(name: str) -> None:
    layer, other, x = build(name), build(name, seed=1), inputs(2, 9).float()
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other(x), layer(x))


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
def test_models_side_by_side_are_the_models_one_by_one(name: str) -> None:
    """Under vmap over stacked parameters, which is how several small models train at once; gradients included."""
    layers = [build(name, seed).double() for seed in range(3)]
    x, target = inputs(2, 19), inputs(2, 19, seed=2)
    parameters, buffers = stack_module_state(layers)  # type: ignore[arg-type]

    def loss(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional_call(layers[0], (own, fixed), (x,))
        return (y - target).square().mean(), y

    with every_warning():  # vmap warns of operations that it takes one model after the other
        gradients, y = vmap(grad(loss, has_aux=True), in_dims=(0, 0, None))(parameters, buffers, x)
    for i, layer in enumerate(layers):
        expected = layer(x)
        torch.testing.assert_close(y[i], expected, **TOLERANCE)
        (expected - target).square().mean().backward()
        for key, parameter in layer.named_parameters():
            assert parameter.grad is not None
            assert_close(gradients[key][i], parameter.grad, 1e-9, key)


@every_layer
def test_bfloat16_autocast_runs(name: str) -> None:
    layer, x = build(name, **WELL_CONDITIONED.get(name, {})), inputs(2, 33).float()
    state = layer.init_state(2)
    with every_warning(), torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
        first, later = layer.prefill(x[:, :20], state)
        last, latest = layer.step(x[:, 20], later)
        output.float().square().mean().backward()
    assert output.shape == x.shape
    for part in (output, first, last, *floats(latest)):
        assert part.isfinite().all()
    for key, part in state.items():  # rounding errors of a state would add up
        assert later[key].dtype == latest[key].dtype == part.dtype, key
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in layer.parameters())
    exact = layer(x)
    assert (output - exact).abs().max() <= 0.1 * exact.abs().max()


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_a_layer_in_half_precision(name: str, dtype: torch.dtype) -> None:
    layer, x = build(name, **WELL_CONDITIONED.get(name, {})), inputs(2, 33).float()
    exact = layer(x)
    output, state = layer.to(dtype).prefill(x.to(dtype), layer.init_state(2))
    last, _ = layer.step(x[:, 0].to(dtype), state)
    assert output.dtype == last.dtype == dtype
    assert last.isfinite().all()
    assert (output.float() - exact).abs().max() <= 0.1 * exact.abs().max()


@every_layer
@needs_gpu
def test_gpu_agrees_with_cpu(name: str) -> None:
    layer, x = build(name), inputs(2, 33).float()
    layer.backend = "reference"  # kernels have a test of their own, and their own precision
    torch.testing.assert_close(layer.cuda()(x.cuda()).cpu(), layer.cpu()(x), atol=1e-4, rtol=1e-3)


@every_layer
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_kernel_agrees_with_reference(name: str, dtype: torch.dtype) -> None:
    """Outputs and gradients within 2 % of the largest number: half precision, or TF32 products."""
    if "backend" not in inspect.signature(registry._LAYERS[name].layer).parameters:
        pytest.skip(f"{name} has no operator with kernels")
    dim, max_length = 128, 128
    x = torch.randn(2, max_length, dim, generator=torch.Generator().manual_seed(1)).cuda()
    results = []
    for backend in ("reference", "kernel"):
        config = WELL_CONDITIONED.get(name, {})
        layer = build(name, dim=dim, max_length=max_length, backend=backend, **config).cuda()
        try:
            with warnings.catch_warnings(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
                warnings.simplefilter("ignore")  # what Triton thinks of its host
                y = layer(x)
                y.float().square().mean().backward()
        except (RuntimeError, ValueError) as error:
            if "needs a package" in str(error) or (isinstance(error, ValueError) and "backend='kernel'" in str(error)):
                pytest.skip(str(error))
            raise
        results.append([y.float(), *(parameter.grad for parameter in layer.parameters())])
    for expected, actual in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 2e-2 * expected.abs().max()
