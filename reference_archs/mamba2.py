"""Mamba-2 (Dao and Gu, arXiv 2405.21060) and SwiGLU: selective, with one decay per head.

Expect all six tasks to pass at smoke sizes. Published MAD scores: 100 in recall, 51 in fuzzy recall, 42 in
memorization, which at smoke sizes it passes.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mamba2", "swiglu", "mamba2", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 8 heads of 16 and 8 modes: a state of 2 x 1,024."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 128 with 16 heads of 16 and 8 modes: a state of 2 x 2,048, as MAD compares."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
