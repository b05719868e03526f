"""Random shapes, drawn by Hypothesis, and random tensors of these shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from hypothesis import Phase, settings
from hypothesis import strategies as st
from torch import Tensor

examples = settings(max_examples=15, derandomize=True, database=None, deadline=None)
WIDTHS = st.integers(1, 9)
# For what is interpreted: takes seconds, too long to shrink
few_examples = settings(examples, max_examples=3, phases=[Phase.explicit, Phase.generate])


@dataclass(kw_only=True)
class Draw:
    """B sequences of T tokens with H heads, keys of width K and values of width V; and a source of numbers."""

    B: int
    T: int
    H: int
    K: int
    V: int
    seed: int
    decay: float
    generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def qkv(self) -> tuple[Tensor, Tensor, Tensor]:
        B, T, H = self.B, self.T, self.H
        return self.normal(B, T, H, self.K), self.normal(B, T, H, self.K), self.normal(B, T, H, self.V)

    def qkv_of_delta_rule(self) -> tuple[Tensor, Tensor, Tensor]:
        """With keys of norm 1, without which it explodes."""
        q, k, v = self.qkv()
        return q, F.normalize(k, dim=-1), v

    def log_decay(self, *shape: int) -> Tensor:
        return F.logsigmoid(self.normal(*shape)) * self.decay

    def state(self) -> Tensor:
        return self.normal(self.B, self.H, self.K, self.V)


def draws(longest: int = 70, widths: st.SearchStrategy[int] = WIDTHS) -> st.SearchStrategy[Draw]:
    """Lengths to both sides of our chunks, widths that no kernel would like, decays from almost none to almost all."""
    return st.builds(
        Draw,
        B=st.integers(1, 2),
        T=st.integers(1, longest),
        H=st.integers(1, 3),
        K=widths,
        V=widths,
        seed=st.integers(0, 2**31),
        decay=st.sampled_from([0.01, 0.3, 3.0]),
    )


def swapped(x: Tensor) -> Tensor:
    """``(B, T, H, ...)`` to ``(B, H, T, ...)``, or back."""
    return x.transpose(1, 2)
