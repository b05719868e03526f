"""Every kernel against its reference, on a GPU and by the real package: values and gradients, as a layer uses them."""

from __future__ import annotations

import functools

import pytest
import torch

from benchmarks.gpu.__main__ import errors
from benchmarks.speed.operators import Case, Shape, Source, pairs
from pytest_mad.layers.ops.agreement import OF_GRADIENTS, TOLERANCE
from pytest_mad.layers.ops.kernel import Kernel
from pytest_mad.layers.ops.operator import Operator
from pytest_mad.layers.ops.precision import in_full_precision, in_kernel_precision

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SHAPES = [Shape(4, 32, 8, 16, 16), Shape(2, 200, 4, 16, 16), Shape(2, 300, 2, 64, 64)]
EVERY_KERNEL = [pytest.param(case, kernel, id=f"{name}-{kernel.name}") for name, case, kernel in pairs()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("case", "kernel"), EVERY_KERNEL)
def test_kernel_agrees_with_the_reference(case: Case, kernel: Kernel, dtype: torch.dtype) -> None:
    """All of every tensor, beyond the part that is compared before a kernel is used."""
    if kernel.is_absent():
        pytest.skip(f"needs {kernel.package}")
    if dtype not in kernel.dtypes:
        pytest.skip(f"{kernel.name} does not take {dtype}")
    fast = functools.partial(in_kernel_precision, kernel.load(), **case.config)
    slow = functools.partial(in_full_precision, case.operator.reference, **case.config)
    for shape in SHAPES:
        tensors = case.draw(shape, Source(dtype=dtype, device="cuda"))
        error, of_gradients = errors(fast, slow, tensors)
        assert error <= TOLERANCE[dtype], f"{shape}: output or state"
        assert of_gradients <= OF_GRADIENTS * TOLERANCE[dtype], f"{shape}: gradients"


@pytest.mark.parametrize(("case", "kernel"), EVERY_KERNEL)
def test_kernel_is_chosen_where_it_can_be(case: Case, kernel: Kernel) -> None:
    if kernel.is_absent():
        pytest.skip(f"needs {kernel.package}")
    own = case.operator
    alone = Operator(name=own.name, recurrent=own.recurrent, reference=own.reference, kernels=(kernel,), wide=own.wide)
    tensors = case.draw(SHAPES[0], Source(dtype=torch.bfloat16, device="cuda"))
    assert alone.choose(*tensors, backend="kernel", **case.config) is kernel
    result = alone(*tensors, backend="auto", **case.config)
    assert (result if isinstance(result, torch.Tensor) else result[0]).dtype == torch.bfloat16
