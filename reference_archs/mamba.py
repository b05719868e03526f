"""Mamba (Gu and Dao, arXiv 2312.00752) and SwiGLU: the classic selective state-space model.

Its state is chosen by the input, token by token: expect all six tasks to pass at smoke sizes, fuzzy recall late, with
its budget almost used up. Published MAD scores have it near 90 in recall and below 15 in fuzzy recall.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mamba", "swiglu", "mamba", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 4 modes per channel: a state of 2 x 512."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with 4 modes per channel, a state of 2 x 1,024."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
