"""Which model a trial begins with: shapes, source and first steps, by which stored results are known again."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.source import source_digest
from pytest_mad.common.packages import version
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import initial_model, parameter_count

from .evidence import Evidence, gather, hidden_state
from .headers import Header

_KERNELS = ("triton", "flash-linear-attention", "mamba-ssm", "causal-conv1d", "flash-attn")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which model a trial begins with: its shapes, its source, and what it does in its first steps."""

    make: Callable[[], nn.Module]
    parameters: int
    #: name, shape, dtype and whether it is trained, of all parameters and buffers
    shapes: tuple[tuple[object, ...], ...]
    read_source: Callable[[], str | None]
    #: None where it cannot be read, or is no longer what was loaded
    source: str | None
    start: Evidence
    #: what the model carries at first beside its parameters, e.g. values that were read from a file
    hidden: str | None

    def which(self, *evidence: Evidence) -> str:
        """Another one for another model, so that none takes the place of another's file."""
        marks = "" if self.start.is_enough else f"{self.source} {self.hidden}"
        digest = hashlib.sha256(marks.encode())
        for one in (self.start, *evidence):
            for name in sorted(one.values):
                digest.update(one.values[name].numpy().tobytes())
        return digest.hexdigest()[:16]

    def is_marked(self, header: Header) -> bool:
        """Whether source and first state are known, and are those of a file."""
        mine = self.source, self.hidden
        return None not in mine and mine == (header.source, header.hidden)

    def is_as_loaded(self) -> bool:
        """Whether no file of the source was edited meanwhile: the results would stand beside the wrong text."""
        return self.read_source() == self.source


@functools.lru_cache(maxsize=64)
def identify(
    architecture: Architecture, setting: Setting, point: Point, seed: int, data_dir: Path | None, device: torch.device
) -> Identity:
    """The identity of one trial's model. Kept: contracts ask for the same one again and again."""

    def make() -> nn.Module:
        return initial_model(lambda: build_model(architecture, setting, device), setting, point, seed, device)

    model = make()
    classes = sorted({type(module).__module__ for module in model.modules()})
    read_source = functools.partial(source_digest, architecture.modules, classes)
    is_as_loaded = architecture.modules and source_digest(architecture.modules) == architecture.loaded
    return Identity(
        make=make,
        parameters=parameter_count(model),
        shapes=tuple(
            (name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        ),
        read_source=read_source,
        source=read_source() if is_as_loaded else None,
        start=gather(make, setting, point, load_data(setting, seed, data_dir), device),
        hidden=hidden_state(model, buffers=True),
    )


def surroundings(device: torch.device) -> dict[str, Any]:
    """What the numbers of any computation depend on, beside what is computed."""
    is_cuda = device.type == "cuda"
    return {
        "torch": version("torch"),
        "numpy": version("numpy"),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "matmul": torch.get_float32_matmul_precision(),
        "kernels": {name: version(name) for name in _KERNELS} if is_cuda else {},
    }
