"""Every kernel against its reference, on a GPU and by the real package: values and gradients, as a layer uses them."""

from __future__ import annotations

import pytest
import torch

from benchmarks.operators import Case, Shape, Source, pairs
from pytest_mad.layers.ops.kernel import Kernel
from pytest_mad.layers.ops.operator import Operator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SHAPES = [Shape(4, 32, 8, 16, 16), Shape(2, 200, 4, 16, 16), Shape(2, 300, 2, 64, 64)]
EVERY_KERNEL = [pytest.param(case, kernel, id=f"{name}-{kernel.name}") for name, case, kernel in pairs()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("case", "kernel"), EVERY_KERNEL)
def test_kernel_agrees_with_the_reference(case: Case, kernel: Kernel, dtype: torch.dtype) -> None:
    """`backend="kernel"` is an error if the kernel's values or gradients differ."""
    if kernel.is_absent():
        pytest.skip(f"needs {kernel.package}")
    if dtype not in kernel.dtypes:
        pytest.skip(f"{kernel.name} does not take {dtype}")
    own = case.operator
    alone = Operator(name=own.name, recurrent=own.recurrent, reference=own.reference, kernels=(kernel,), wide=own.wide)
    for shape in SHAPES:
        tensors = case.draw(shape, Source(dtype=dtype, device="cuda"))
        for tensor in tensors:
            if tensor is not None:
                tensor.requires_grad_()
        assert alone.choose(*tensors, backend="kernel", **case.config) is kernel
        result = alone(*tensors, backend="kernel", **case.config)
        output = result if isinstance(result, torch.Tensor) else result[0]
        assert output.dtype == dtype
        output.float().square().mean().backward()
        assert all(x.grad is None or x.grad.isfinite().all() for x in tensors if x is not None)
