"""Every operator that has kernels, with arguments as layers give them: for measurements and for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.ops import flash_kernels
from pytest_mad.layers.ops.attention import attention
from pytest_mad.layers.ops.convolution import short_convolution
from pytest_mad.layers.ops.delta import delta_rule, dplr
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.gsa import gsa
from pytest_mad.layers.ops.kernel import Kernel
from pytest_mad.layers.ops.operator import Operator
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.ops.ssd import ssd

Arguments = list["Tensor | None"]


@dataclass(frozen=True)
class Shape:
    """B sequences of T tokens with H heads, keys of width K, values of width V; where there are no heads, H V channels.

    The channels of Mamba have K modes, 16 at most.
    """

    B: int
    T: int
    H: int
    K: int
    V: int

    def __str__(self) -> str:
        return f"B{self.B} T{self.T} H{self.H} K{self.K} V{self.V}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Normal numbers from a seed, the same for every device and dtype but for rounding."""

    dtype: torch.dtype
    device: str
    seed: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        self.generator.manual_seed(self.seed)

    def wide(self, *shape: int) -> Tensor:
        """In float32, as gates and states are."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def __call__(self, *shape: int) -> Tensor:
        return self.wide(*shape).to(self.dtype)

    def keys(self, *shape: int) -> Tensor:
        """With norm 1."""
        return F.normalize(self.wide(*shape), dim=-1).to(self.dtype)

    def log_decay(self, *shape: int) -> Tensor:
        """As GLA begins."""
        return F.logsigmoid(self.wide(*shape)) / 16


def draw_gla(s: Shape, x: Source, width_of_decay: int | None, bonus: bool) -> Arguments:
    q, k, v = x.keys(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.V)
    g = None if width_of_decay is None else x.log_decay(s.B, s.T, s.H, width_of_decay or s.K)
    return [q, k, v, g, x.wide(s.H, s.K) if bonus else None, x.wide(s.B, s.H, s.K, s.V)]


def draw_delta_rule(s: Shape, x: Source, width_of_decay: int | None) -> Arguments:
    q, k, v = x.keys(s.B, s.T, s.H, s.K), x.keys(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.V)
    g = None if width_of_decay is None else x.log_decay(s.B, s.T, s.H, width_of_decay or s.K)
    return [q, k, v, x(s.B, s.T, s.H).sigmoid(), g, x.wide(s.B, s.H, s.K, s.V)]


def draw_dplr(s: Shape, x: Source) -> Arguments:
    """A rate of the old answer to a key is taken out, as in RWKV-7."""
    q, k, v = x.keys(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.V)
    n = x.keys(s.B, s.T, s.H, s.K)
    b = x(s.B, s.T, s.H, s.K).sigmoid() * n
    return [q, k, v, -n, b, x.log_decay(s.B, s.T, s.H, s.K), x.wide(s.B, s.H, s.K, s.V)]


def draw_gsa(s: Shape, x: Source) -> Arguments:
    """With as many slots as a key has channels."""
    q, k, v = x.keys(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.K), x(s.B, s.T, s.H, s.V)
    g = x.log_decay(s.B, s.T, s.H, s.K)
    written = (1 - g.exp()).to(x.dtype)
    return [q, k, v, written, g, x.wide(s.B, s.H, s.K, s.K), x.wide(s.B, s.H, s.K, s.V)]


def draw_selective_scan(s: Shape, x: Source) -> Arguments:
    channels, modes = s.H * s.V, min(s.K, 16)
    A = -torch.arange(1.0, modes + 1, device=x.device).repeat(channels, 1)
    dt = F.softplus(x.wide(s.B, s.T, channels) - 4)
    return [x(s.B, s.T, channels), dt, A, x(s.B, s.T, modes), x(s.B, s.T, modes), None]


def draw_ssd(s: Shape, x: Source) -> Arguments:
    A = -torch.linspace(1.0, 16.0, s.H, device=x.device)
    dt = F.softplus(x.wide(s.B, s.T, s.H) - 4)
    return [x(s.B, s.T, s.H, s.V), dt, A, x(s.B, s.T, 1, s.K), x(s.B, s.T, 1, s.K), x.wide(s.B, s.H, s.K, s.V)]


def draw_short_convolution(s: Shape, x: Source) -> Arguments:
    channels, taps = s.H * s.V, 4
    return [x(s.B, s.T, channels), x.wide(channels, taps), x.wide(channels), x(s.B, taps - 1, channels)]


def draw_attention(s: Shape, x: Source) -> Arguments:
    return [x(s.B, s.T, s.H, s.K) for _ in range(3)]


@dataclass(frozen=True, kw_only=True)
class Case:
    operator: Operator
    draw: Callable[[Shape, Source], Arguments]
    config: dict[str, Any] = field(default_factory=dict)
    kernels: tuple[Kernel, ...] = ()


CASES = {
    "linear attention": Case(operator=gla, draw=partial(draw_gla, width_of_decay=None, bonus=False)),
    "retention": Case(operator=gla, draw=partial(draw_gla, width_of_decay=1, bonus=False)),
    "gated linear attention": Case(operator=gla, draw=partial(draw_gla, width_of_decay=0, bonus=False)),
    "rwkv-6": Case(operator=gla, draw=partial(draw_gla, width_of_decay=0, bonus=True)),
    "delta rule": Case(operator=delta_rule, draw=partial(draw_delta_rule, width_of_decay=None)),
    "gated delta rule": Case(operator=delta_rule, draw=partial(draw_delta_rule, width_of_decay=1)),
    "kimi delta attention": Case(operator=delta_rule, draw=partial(draw_delta_rule, width_of_decay=0)),
    "rwkv-7": Case(operator=dplr, draw=draw_dplr),
    "gated slot attention": Case(operator=gsa, draw=draw_gsa),
    "mamba": Case(operator=selective_scan, draw=draw_selective_scan),
    "mamba-2": Case(operator=ssd, draw=draw_ssd),
    "short convolution": Case(operator=short_convolution, draw=draw_short_convolution),
    "attention": Case(operator=attention, draw=draw_attention, kernels=(flash_kernels.FLASH_ATTENTION,)),
    "sliding attention": Case(
        operator=attention, draw=draw_attention, config={"window": 32}, kernels=(flash_kernels.FLASH_ATTENTION,)
    ),
}


def pairs() -> Iterator[tuple[str, Case, Kernel]]:
    """Every case with every kernel that may compute it."""
    for name, case in CASES.items():
        for kernel in case.operator.kernels or case.kernels:
            yield name, case, kernel
