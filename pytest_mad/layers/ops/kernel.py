"""Fast kernels of other packages: whether one can be used here and now, and if not, why."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# An output may differ from the reference's by this part of the largest one: half precision, or TF32 products
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 1e-2, torch.float32: 5e-3}


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A fast implementation of an operator on CUDA tensors.

    Args:
        name: where it is imported from.
        package: what ``pip install`` calls its package.
        load: imports the package and returns a function with the operator's own signature.
        dtypes: of the first tensor.
        refuses: given the operator's arguments, what is wrong with them for this kernel; None if nothing is.
    """

    name: str
    package: str
    load: Callable[[], Callable[..., Any]]
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16)
    refuses: Callable[..., str | None] = lambda *tensors, **config: None


def why_not(kernel: Kernel, reference: Callable[..., Any], *tensors: Tensor | None, **config: Any) -> Exception | None:
    """What keeps ``kernel`` from computing this, as the error to raise; None if nothing does."""
    first = tensors[0]
    assert first is not None
    if not first.is_cuda:
        return ValueError(f"backend='kernel' needs tensors on a CUDA device, not on {first.device.type}")
    broken = _broken(kernel)
    if broken is not None:
        return broken
    if first.dtype not in kernel.dtypes:
        takes = ", ".join(_name(dtype) for dtype in kernel.dtypes)
        return ValueError(f"backend='kernel': {kernel.name} takes {takes}, not {_name(first.dtype)}")
    refusal = kernel.refuses(*tensors, **config)
    if refusal is not None:
        return ValueError(f"backend='kernel': {kernel.name} {refusal}")
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@functools.cache
def _broken(kernel: Kernel) -> RuntimeError | None:
    """A package that is absent is no surprise; one that is there and cannot be imported is told, once."""
    try:
        kernel.load()
    except ModuleNotFoundError:
        return RuntimeError(f"backend='kernel': {kernel.name} needs a package: pip install {kernel.package}")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # built for another torch, CUDA or Triton
        warnings.warn(f"{kernel.name} cannot be used, the reference is: {error}", stacklevel=2)
        return RuntimeError(f"backend='kernel': {kernel.name} cannot be imported: {error}")
    return None
