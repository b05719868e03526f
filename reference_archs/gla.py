"""Gated linear attention (Yang et al., arXiv 2312.06635) and SwiGLU, a member of MAD's comparison.

Expect all six tasks to pass at smoke sizes, compression and fuzzy recall late. Published MAD scores: 81 to 100 in
recall, 7 to 39 in fuzzy recall.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-gated-linear-attention", "swiglu", "mh-gated-linear-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 4 heads of 16: a state of 2 x 1,024."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with 8 heads of 16, a state of 2 x 2,048."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
