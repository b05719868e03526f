"""Gated DeltaNet (Yang et al., arXiv 2412.06464) and SwiGLU: the delta rule with decay.

EXPECT
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import stack

LAYERS = ("gated-deltanet", "swiglu", "gated-deltanet", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 4 heads of 16: a state of 2 x 1,024."""
    return stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length, dim=64)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 128 with 8 heads of 16: a state of 2 x 2,048, as MAD compares."""
    return stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length, dim=128)
