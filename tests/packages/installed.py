"""Other people's implementations, imported where there is no GPU."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

from . import interpreter

# Extension modules that need a CUDA compiler. Their packages import them first thing, though not all functions use them
EXTENSIONS = ("causal_conv1d_cuda", "flash_attn_2_cuda", "selective_scan_cuda")


def load(path: str) -> Any:
    """What ``package.module.name`` names, be it a function, a class or a module."""
    for extension in EXTENSIONS:
        sys.modules.setdefault(extension, ModuleType(extension))
    interpreter.prepare()
    parent, name = path.rsplit(".", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU, and what is deprecated in whatever they use
        found = getattr(importlib.import_module(parent), name)
    interpreter.mend()
    return found
