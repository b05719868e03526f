"""Fast kernels of other packages: what one is, and whether it can be used here and now; if not, why.

A package may be absent, or built for another torch, CUDA or Triton. That shows when it is imported, when a kernel is
first called, or in nothing but wrong numbers; so a kernel is used for a kind of call only after it has agreed with the
reference on the first one.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from .agreement import Call, disagreement, in_short
from .precision import Form, in_kernel_precision, kernel_dtype


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """A fast implementation of an operator on CUDA tensors.

    Args:
        name: what messages call it.
        package: what ``pip install`` calls its package.
        module: what is imported for it.
        run: the operator, with ``module`` before its own arguments. The first tensor comes in one of ``dtypes``; it
            brings the others to what the package wants.
        dtypes: of the first tensor.
        refuses: given the operator's arguments, what is wrong with them for this kernel; None if nothing is.
    """

    name: str
    package: str
    module: str
    run: Form
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16)
    refuses: Callable[..., str | None] = lambda *_tensors, **_config: None

    def load(self) -> Form:
        """A function with the operator's own signature.

        Raises:
            RuntimeError: the package cannot be imported.
        """
        module = _imported(self.module)
        if isinstance(module, Exception):
            raise RuntimeError(f"{self.name} {self.import_trouble()}")
        return functools.partial(self.run, module)

    def is_absent(self) -> bool:
        """Whether its package is not installed. That is no surprise; one that is there and does not work is."""
        outcome = _imported(self.module)
        return isinstance(outcome, ModuleNotFoundError) and outcome.name == self.module.partition(".")[0]

    def import_trouble(self) -> str | None:
        """What is wrong with the package; None if it can be imported."""
        outcome = _imported(self.module)
        if self.is_absent():
            return f"needs a package: pip install {self.package}"
        return f"cannot be imported: {in_short(outcome)}" if isinstance(outcome, Exception) else None


def on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda


def is_captured(tensor: Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def why_none(first: Tensor) -> Exception | None:
    """What keeps every kernel from being used; None if nothing does."""
    if not on_gpu(first):
        return ValueError(f"needs tensors on a CUDA device, not on {first.device.type}")
    if _is_transformed():
        return ValueError("cannot be used under torch.func transforms such as vmap; 'reference' can")
    return None


def why_not(kernel: Kernel, reference: Form, call: Call) -> Exception | None:
    """What keeps ``kernel`` from being used for this kind of call; None if nothing does. The answer is kept.

    A kernel that should work and does not is told in a warning, once.
    """
    kind = (kernel, call.kind())
    if kind not in _verdicts:
        if is_captured(call.first):  # numbers cannot be looked at
            return RuntimeError(f"{kernel.name} must be called once before it is captured in a CUDA graph")
        _verdicts[kind] = _refusal(kernel, call) or _trouble(kernel, reference, call)
        _warn(kernel, _verdicts[kind])
    return _verdicts[kind]


_verdicts: dict[Hashable, Exception | None] = {}
_warned: set[Kernel] = set()


def _refusal(kernel: Kernel, call: Call) -> ValueError | None:
    """What the kernel was not made for."""
    dtype = kernel_dtype(call.first)
    if dtype not in kernel.dtypes:
        takes = " or ".join(_name(known) for known in kernel.dtypes)
        return ValueError(f"{kernel.name} takes {takes}, not {_name(dtype)}")
    refusal = kernel.refuses(*call.tensors, **call.config)
    return None if refusal is None else ValueError(f"{kernel.name} {refusal}")


def _trouble(kernel: Kernel, reference: Form, call: Call) -> RuntimeError | None:
    """What the kernel was made for, and cannot do."""
    trouble = kernel.import_trouble()
    if trouble is None:
        trouble = disagreement(functools.partial(in_kernel_precision, kernel.load()), reference, call)
    return None if trouble is None else RuntimeError(f"{kernel.name} {trouble}")


def _warn(kernel: Kernel, verdict: Exception | None) -> None:
    if isinstance(verdict, RuntimeError) and not kernel.is_absent() and kernel not in _warned:
        _warned.add(kernel)
        warnings.warn(f"{verdict}; going on without it", stacklevel=2)


@functools.cache
def _imported(module: str) -> ModuleType | Exception:
    """The module, or what importing it raised: ImportError, or OSError for an undefined symbol, or anything."""
    try:
        with warnings.catch_warnings():  # theirs, which would end a test run under -W error
            warnings.simplefilter("ignore")
            # a package that fails may leave modules behind, which alone could be imported the second time
            importlib.import_module(module.partition(".")[0])
            return importlib.import_module(module)
    except Exception as error:
        return error


def _is_transformed() -> bool:
    """Whether torch.func is at work, whose transforms most autograd functions do not know; it asks the same."""
    is_active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return is_active is not None and bool(is_active())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
