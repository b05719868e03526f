"""Every operator's parallel form computes what its recurrence says: in values, in gradients and at extreme decays."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_mad.layers import ops
from pytest_mad.layers.ops import convolution
from pytest_mad.layers.ops import long_convolution as long_convolution_module
from pytest_mad.layers.ops.convolution import short_convolution
from pytest_mad.layers.ops.delta import delta_rule, dplr
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.gsa import gsa
from pytest_mad.layers.ops.long_convolution import long_convolution, long_convolution_of_pairs
from pytest_mad.layers.ops.operator import Operator
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.ops.ssd import ssd

LONGEST = 150  # more than two of the longest chunks

Arguments = list["Tensor | None"]


@dataclass(frozen=True)
class Shape:
    length: int
    batch: int = 2
    heads: int = 2
    keys: int = 5
    values: int = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operator with one choice of its optional arguments.

    ``draw`` makes all arguments for a shape and a function that draws log decays; the last ``states`` are the state.
    """

    operator: Operator
    draw: Callable[[Shape, Callable[..., Tensor]], Arguments]
    states: int = 1
    config: dict[str, Any] = field(default_factory=dict)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(randn(*shape), dim=-1)


def moderate(*shape: int) -> Tensor:
    """Log decays from almost none to almost all at once."""
    return -(2 * randn(*shape)).exp()


def extreme(*shape: int) -> Tensor:
    """All kept, all but nothing forgotten, and more forgotten than a float can tell from all."""
    return torch.tensor([0.0, -50.0, -1000.0], dtype=torch.float64)[torch.randint(3, shape)]


def mixed(*shape: int) -> Tensor:
    return torch.where(torch.rand(shape) < 0.3, extreme(*shape), moderate(*shape))


def optional_decay(kind: str, shape: Shape, decay: Callable[..., Tensor]) -> Tensor | None:
    width = {"none": 0, "scalar": 1, "channel": shape.keys}[kind]
    return decay(shape.batch, shape.length, shape.heads, width) if width else None


def draw_gla(shape: Shape, decay: Callable[..., Tensor], *, kind: str, bonus: bool) -> Arguments:
    b, t, h, k, v = shape.batch, shape.length, shape.heads, shape.keys, shape.values
    u = randn(h, k) if bonus else None
    return [randn(b, t, h, k), randn(b, t, h, k), randn(b, t, h, v), optional_decay(kind, shape, decay), u,
            randn(b, h, k, v)]  # fmt: skip


def draw_delta(shape: Shape, decay: Callable[..., Tensor], *, kind: str) -> Arguments:
    b, t, h, k, v = shape.batch, shape.length, shape.heads, shape.keys, shape.values
    beta = 2 * torch.rand(b, t, h, dtype=torch.float64)
    return [randn(b, t, h, k), unit(b, t, h, k), randn(b, t, h, v), beta, optional_decay(kind, shape, decay),
            randn(b, h, k, v)]  # fmt: skip


def draw_dplr(shape: Shape, decay: Callable[..., Tensor], *, kind: str, own_b: bool) -> Arguments:
    """With b and a as RWKV-7 has them, so that the state does not explode: a key, and what it takes away again."""
    b, t, h, k, v = shape.batch, shape.length, shape.heads, shape.keys, shape.values
    g = optional_decay(kind, shape, decay)
    assert g is not None
    key, rate = unit(b, t, h, k), torch.rand(b, t, h, k, dtype=torch.float64)
    taken = -key * g.exp().amin(-1, keepdim=True)
    if own_b:
        return [randn(b, t, h, k), randn(b, t, h, k), randn(b, t, h, v), taken, key * rate, g, randn(b, h, k, v)]
    return [randn(b, t, h, k), key * rate, randn(b, t, h, v), taken, None, g, randn(b, h, k, v)]


def draw_bounded(shape: Shape, decay: Callable[..., Tensor], *, lowest: float) -> Arguments:
    """Decays that know a lowest one, and take it, too."""
    return draw_dplr(shape, lambda *s: decay(*s).clamp(min=lowest), kind="channel", own_b=True)


def draw_gsa(shape: Shape, decay: Callable[..., Tensor]) -> Arguments:
    b, t, h, k, v, m = shape.batch, shape.length, shape.heads, shape.keys, shape.values, shape.keys + 2
    g = decay(b, t, h, m)
    return [randn(b, t, h, k), randn(b, t, h, k), randn(b, t, h, v), 1 - g.exp(), g, randn(b, h, k, m),
            randn(b, h, m, v)]  # fmt: skip


def draw_scan(shape: Shape, decay: Callable[..., Tensor]) -> Arguments:
    b, t, c, n = shape.batch, shape.length, shape.values, shape.keys
    rates = torch.arange(1, n + 1, dtype=torch.float64).expand(c, n).clone()
    return [randn(b, t, c), -decay(b, t, c), -rates, randn(b, t, n), randn(b, t, n), randn(b, c, n)]


def draw_short(shape: Shape, decay: Callable[..., Tensor], *, bias: bool) -> Arguments:
    b, t, c, w = shape.batch, shape.length, shape.values, shape.keys
    return [randn(b, t, c), randn(c, w), randn(c) if bias else None, randn(b, w - 1, c)]


def draw_ssd(shape: Shape, decay: Callable[..., Tensor], *, groups: int) -> Arguments:
    b, t, h, k, v = shape.batch, shape.length, shape.heads * groups, shape.keys, shape.values
    logs = decay(b, t, h)
    rate = -logs.abs().max()  # steps are at most 1: what is lost in a decay's gradient is multiplied by the step
    return [randn(b, t, h, v), logs / rate, rate * torch.arange(1, h + 1, dtype=torch.float64), randn(b, t, groups, k),
            randn(b, t, groups, k), randn(b, h, k, v)]  # fmt: skip


def draw_long(shape: Shape, decay: Callable[..., Tensor], *, past: int) -> Arguments:
    b, t, c = shape.batch, shape.length, shape.values
    return [randn(b, t, c), randn(past + t, c), randn(b, past, c)]


def draw_long_pairs(shape: Shape, decay: Callable[..., Tensor], *, past: int) -> Arguments:
    b, t, h, k, v = shape.batch, shape.length, shape.heads, shape.keys, shape.values
    return [randn(b, t, h, k), randn(b, t, h, k), randn(b, t, h, v), randn(past + t, h), randn(b, past, h, k),
            randn(b, past, h, v)]  # fmt: skip


CASES = {
    **{
        f"gla-{kind}{'-bonus' * bonus}": Case(operator=gla, draw=partial(draw_gla, kind=kind, bonus=bonus))
        for kind in ("none", "scalar", "channel")
        for bonus in (False, True)
    },
    **{
        f"delta_rule-{kind}": Case(operator=delta_rule, draw=partial(draw_delta, kind=kind))
        for kind in ("none", "scalar", "channel")
    },
    **{
        f"dplr-{kind}{'-b' * own_b}": Case(operator=dplr, draw=partial(draw_dplr, kind=kind, own_b=own_b))
        for kind in ("scalar", "channel")
        for own_b in (False, True)
    },
    **{
        f"dplr-above{lowest}": Case(operator=dplr, draw=partial(draw_bounded, lowest=lowest), config={"lowest": lowest})
        for lowest in (-0.6, -3.5, -20.0)  # one product, one with large numbers in between, and as without a bound
    },
    "gsa": Case(operator=gsa, draw=draw_gsa, states=2),
    "selective_scan": Case(operator=selective_scan, draw=draw_scan),
    "ssd": Case(operator=ssd, draw=partial(draw_ssd, groups=1)),
    "ssd-groups": Case(operator=ssd, draw=partial(draw_ssd, groups=2)),
    "short_convolution": Case(operator=short_convolution, draw=partial(draw_short, bias=False)),
    "short_convolution-bias": Case(operator=short_convolution, draw=partial(draw_short, bias=True)),
    **{
        f"{operator.name}-{past}": Case(operator=operator, draw=partial(make, past=past), states=states)
        for operator, make, states in (
            (long_convolution, draw_long, 1),
            (long_convolution_of_pairs, draw_long_pairs, 2),
        )
        for past in (0, 5)
    },
}
DECAYING = [name for name in CASES if "none" not in name and "convolution" not in name]

FORMS = ("reference", "recurrent")

every_case = pytest.mark.parametrize("name", CASES)
few_examples = settings(max_examples=10, deadline=None, derandomize=True, database=None)
shapes = st.builds(
    Shape,
    length=st.integers(1, LONGEST),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    keys=st.integers(1, 9),
    values=st.integers(1, 7),
)


def draw(name: str, shape: Shape, decay: Callable[..., Tensor] = moderate, *, empty: bool = False) -> Arguments:
    torch.manual_seed(0)
    case = CASES[name]
    arguments = case.draw(shape, decay)
    for state in arguments[-case.states :] if empty else []:
        assert state is not None
        state.zero_()
    return arguments


def compute(name: str, backend: str, arguments: Arguments, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The output, the states, and the gradients of all arguments, for the same weights on all outputs."""
    own = [None if x is None else x.detach().to(dtype).requires_grad_() for x in arguments]
    output, state = CASES[name].operator(*own, backend=backend, **CASES[name].config)
    results = [output, *(state if isinstance(state, tuple) else (state,))]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for x in results]
    total = sum((x * weight).sum() for x, weight in zip(results, weights, strict=True))
    leaves = [x for x in own if x is not None]
    return [x.detach() for x in results] + list(torch.autograd.grad(total, leaves, materialize_grads=True))


def assert_equal(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Relative to the largest number of each tensor."""
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.shape == other.shape
        assert one.isfinite().all(), f"tensor {i} is not finite"
        if other.numel():
            error = ((one - other).abs().max() / other.abs().max().clamp(min=1)).item()
            assert error <= tolerance, f"tensor {i} differs by {error:.1e} of its largest number"


def test_every_operator_of_two_forms_has_a_case() -> None:
    modules = [
        importlib.import_module(f"{ops.__name__}.{module.name}") for module in pkgutil.iter_modules(ops.__path__)
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Operator)]
    assert {one.name for one in found if one.recurrent is not one.reference} == {
        case.operator.name for case in CASES.values()
    }


@every_case
@few_examples
@given(shape=shapes, empty=st.booleans())
@example(shape=Shape(length=1), empty=False)
@example(shape=Shape(length=65), empty=False)
@example(shape=Shape(length=128), empty=True)
def test_reference_is_the_recurrence(name: str, shape: Shape, empty: bool) -> None:
    arguments = draw(name, shape, empty=empty)
    reference, recurrent = (compute(name, form, arguments) for form in FORMS)
    assert_equal(reference, recurrent, 1e-10)


def test_pairs_too_many_for_a_matrix_are_convolved_by_fft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_convolution_module, "LONGEST_MATRIX", 10)
    for length in (1, 37):
        arguments = draw("long_convolution_of_pairs-5", Shape(length=length))
        reference, recurrent = (compute("long_convolution_of_pairs-5", form, arguments) for form in FORMS)
        assert_equal(reference, recurrent, 1e-10)


@pytest.mark.parametrize("name", ["short_convolution", "short_convolution-bias"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7])
def test_short_convolutions_of_a_few_sequences_at_a_time(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five sequences, of which so many fit into the cache."""
    arguments = draw(name, Shape(length=9, batch=5))
    assert arguments[0] is not None and arguments[3] is not None
    monkeypatch.setattr(convolution, "CACHED", rows * (arguments[0][0].numel() + arguments[3][0].numel()))
    reference, recurrent = (compute(name, form, arguments) for form in FORMS)
    assert_equal(reference, recurrent, 1e-10)


@every_case
def test_single_precision_is_enough(name: str) -> None:
    arguments = draw(name, Shape(length=LONGEST))
    exact = compute(name, "recurrent", arguments)
    single = compute(name, "reference", arguments, torch.float32)
    assert_equal([x.double() for x in single], exact, 1e-4)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("length", [7, 70])
@pytest.mark.parametrize("decay", [extreme, mixed])
def test_extreme_decays(name: str, dtype: torch.dtype, length: int, decay: Callable[..., Tensor]) -> None:
    """A decay of e^-1000 is zero, and its inverse infinite: a form that needs the inverse gives nan.

    In float32, sums of logarithms in the thousands would leave the small decay behind them three digits.
    """
    arguments = draw(name, Shape(length=length), decay)
    reference, recurrent = (compute(name, form, arguments, dtype) for form in FORMS)
    assert_equal(reference, recurrent, 1e-10 if dtype == torch.float64 else 1e-4)


@every_case
@pytest.mark.parametrize("backend", ["auto", "reference", "recurrent"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_half_precision_goes_in_and_out_but_not_through(
    name: str, backend: str, dtype: torch.dtype, autocast: bool
) -> None:
    case = CASES[name]
    half = [None if x is None else x.to(dtype) for x in draw(name, Shape(length=37))]
    half[-case.states :] = [None if x is None else x.float() for x in half[-case.states :]]
    exact, exact_state = case.operator(*(None if x is None else x.float() for x in half), backend=backend)
    with torch.autocast("cpu", dtype, enabled=autocast):
        output, state = case.operator(*half, backend=backend)
    assert output.dtype == dtype
    torch.testing.assert_close(output, exact.to(dtype), rtol=0, atol=0)
    for one, other in zip(_tuple(state), _tuple(exact_state), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@every_case
@pytest.mark.parametrize("backend", FORMS)
def test_an_operator_leaves_its_arguments_alone(name: str, backend: str) -> None:
    arguments = draw(name, Shape(length=37))
    before = [None if x is None else x.clone() for x in arguments]
    CASES[name].operator(*arguments, backend=backend)
    for one, other in zip(arguments, before, strict=True):
        assert one is other is None or torch.equal(one, other)


@every_case
def test_kernel_on_a_cpu_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^backend='kernel'"):
        CASES[name].operator(*draw(name, Shape(length=5)), backend="kernel")


def _tuple(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
