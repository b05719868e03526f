"""An operator, and the choice between its forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_mad.layers.ops.kernel import Kernel, why_not

Backend = Literal["auto", "reference", "kernel", "recurrent"]

CHOICES = ("auto", "reference", "kernel")  # for a user; "recurrent" is what a layer's step asks for


def check_backend(backend: Backend) -> Backend:
    """``backend``, if it is one that a layer can be built with.

    Raises:
        ValueError: it is not.
    """
    if backend not in CHOICES:
        raise ValueError(f"backend must be one of {', '.join(CHOICES)}, not {backend!r}")
    return backend


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator in several forms of one signature: tensors first (the first gives device and dtype), then keywords.

    Args:
        name: for messages.
        recurrent: the definition, one token after the other.
        reference: the same, all tokens at once, in plain PyTorch.
        kernels: fast implementations for a GPU, best first.
        wide: whether sums over time need float32 at least. The forms then return an output and a state.
    """

    name: str
    recurrent: Callable[..., Any]
    reference: Callable[..., Any]
    kernels: tuple[Kernel, ...] = ()
    wide: bool = True

    def __call__(self, *tensors: Tensor | None, backend: Backend = "auto", **config: Any) -> Any:
        """Compute it in the form that ``backend`` names; ``auto``: by a kernel if one takes these tensors.

        Raises:
            ValueError: ``backend="kernel"``, and no kernel takes these tensors.
            RuntimeError: ``backend="kernel"``, and the package is missing or broken.
        """
        kernel = None if backend == "recurrent" else self.choose(*tensors, backend=backend, **config)
        if kernel is not None:
            return kernel.load()(*tensors, **config)
        form = self.recurrent if backend == "recurrent" else self.reference
        return in_full_precision(form, *tensors, **config) if self.wide else form(*tensors, **config)

    def choose(self, *tensors: Tensor | None, backend: Backend, **config: Any) -> Kernel | None:
        """The kernel that will be used, None for the reference. Raises as a call does."""
        if backend == "reference" or (backend == "auto" and tensors[0].device.type != "cuda"):
            return None
        complaints = []
        for kernel in self.kernels:
            complaint = why_not(kernel, self.reference, *tensors, **config)
            if complaint is None:
                return kernel
            complaints.append(complaint)
        if backend == "kernel":
            raise complaints[0] if complaints else ValueError(f"backend='kernel': {self.name} has no kernel")
        return None


def in_full_precision(form: Callable[..., Any], *tensors: Tensor | None, **config: Any) -> Any:
    """Sums over time need float32 at least; the output has the dtype of the first tensor, a state stays wide."""
    first = tensors[0]
    assert first is not None
    dtype = torch.promote_types(first.dtype, torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        wide = (None if tensor is None else tensor.to(dtype) for tensor in tensors)
        output, state = form(*wide, **config)
    return output.to(first.dtype), state
