"""An operator, and the choice between its forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from .agreement import Call
from .kernel import Kernel, on_gpu, why_none, why_not
from .precision import Form, in_full_precision, in_kernel_precision

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

    A parameter's name ends in its axes, which tells batch and time from the others: ``q_BTHK``, ``S_BHKV``.

    Args:
        name: for messages.
        recurrent: the definition, one token after the other.
        reference: the same, all tokens at once, in plain PyTorch.
        kernels: fast implementations for a GPU, best first.
        wide: whether the plain forms compute in float32 at least, as sums over time must.
    """

    name: str
    recurrent: Form
    reference: Form
    kernels: tuple[Kernel, ...] = ()
    wide: bool = True

    def __call__(self, *tensors: Tensor | None, backend: Backend = "auto", **config: Any) -> Any:
        """Compute it in the form that ``backend`` names; ``auto``: by a kernel if one takes these tensors.

        Raises:
            ValueError: ``backend="kernel"``, and no kernel takes these tensors.
            RuntimeError: ``backend="kernel"``, and the package is missing, broken or wrong.
        """
        if backend == "recurrent":
            return self._plainly(self.recurrent, *tensors, **config)
        kernel = self.choose(*tensors, backend=backend, **config)
        if kernel is None:
            return self._by_reference(*tensors, **config)
        return in_kernel_precision(kernel.load(), *tensors, **config)

    def choose(self, *tensors: Tensor | None, backend: Backend, **config: Any) -> Kernel | None:
        """The kernel that will be used, None for the reference. Raises as a call does."""
        first = tensors[0]
        assert first is not None
        if backend == "reference" or (backend == "auto" and not on_gpu(first)):
            return None
        call = Call(tensors, config, self.reference)
        trouble = why_none(first) if self.kernels else ValueError(f"{self.name} has none, use 'auto'")
        kernel, complaints = (None, [trouble]) if trouble else self._first_able(call)
        if kernel is None and backend == "kernel":
            raise type(complaints[0])(f"backend='kernel': {'; '.join(map(str, complaints))}")
        return kernel

    def _first_able(self, call: Call) -> tuple[Kernel | None, list[Exception]]:
        """The first kernel that can be used, and what is wrong with those before it."""
        complaints: list[Exception] = []
        for kernel in self.kernels:
            complaint = why_not(kernel, self._by_reference, call)
            if complaint is None:
                return kernel, complaints
            complaints.append(complaint)
        return None, complaints

    def _by_reference(self, *tensors: Tensor | None, **config: Any) -> Any:
        return self._plainly(self.reference, *tensors, **config)

    def _plainly(self, form: Form, *tensors: Tensor | None, **config: Any) -> Any:
        return in_full_precision(form, *tensors, **config) if self.wide else form(*tensors, **config)
