"""Which dtype an operator computes in: the plain forms in float32 at least, a kernel in what its caller computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import is_autocast_available

Form = Callable[..., Any]


def in_full_precision(form: Form, *tensors: Tensor | None, **config: Any) -> Any:
    """Sums over time need float32 at least; the output has the dtype of the first tensor, a state stays wide."""
    first = tensors[0]
    assert first is not None
    dtype = torch.promote_types(first.dtype, torch.float32)
    with _without_autocast(first.device.type):
        wide = (None if tensor is None else tensor.to(dtype) for tensor in tensors)
        return _output_as(first.dtype, form(*wide, **config))


def in_kernel_precision(form: Form, *tensors: Tensor | None, **config: Any) -> Any:
    """A kernel takes the first tensor in `kernel_dtype`, and the others as its adapter brings them."""
    first, *others = tensors
    assert first is not None
    dtype = kernel_dtype(first)
    with _without_autocast(first.device.type):
        return _output_as(first.dtype, form(first.to(dtype), *others, **config))


def kernel_dtype(first: Tensor) -> torch.dtype:
    """The dtype of the first tensor; under autocast what a product of matrices would be computed in."""
    device = first.device.type
    if first.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return first.dtype


def _without_autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    """Some devices, such as meta, have no autocast to switch off."""
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else contextlib.nullcontext()


def _output_as(dtype: torch.dtype, result: Any) -> Any:
    """An output, or a pair of an output and a state."""
    if isinstance(result, Tensor):
        return result.to(dtype)
    output, state = result
    return output.to(dtype), state
