"""Triton kernels on a CPU: Triton's interpreter, and what kernels and their launchers need beyond it."""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
from types import SimpleNamespace
from typing import Any

import torch
from triton.runtime.autotuner import Autotuner


class Index(int):
    """A loop's index. In a compiled kernel it is a tensor and can be converted."""

    def to(self, dtype: Any) -> Index:
        return self


def indices(*limits: Any) -> list[Index]:
    """``range``, but limits may be the interpreter's tensors."""
    return [Index(i) for i in builtins.range(*map(_number, limits))]


def _number(limit: Any) -> int:
    return int(limit.handle.data.item()) if hasattr(limit, "handle") else limit


@functools.cache
def prepare() -> None:
    """Before kernels are imported."""
    plain = Autotuner.__init__

    def with_one_choice(self, fn, arg_names, configs, *args, **kwargs):
        plain(self, fn, arg_names, configs[:1], *args, **kwargs)  # there is nothing to measure choices on

    Autotuner.__init__ = with_one_choice
    torch.compiler.set_stance("force_eager")  # what they hand to torch.compile would ask for a compiler
    torch.cuda.device = lambda index: contextlib.nullcontext()
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(multi_processor_count=1)


def mend() -> None:
    """After kernels are imported, in all of their modules."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("fla.", "mamba_ssm.ops.triton")):
            module.range = indices
            if hasattr(module, "IS_GATHER_SUPPORTED"):
                module.IS_GATHER_SUPPORTED = False  # the interpreter does not know `tl.gather`
