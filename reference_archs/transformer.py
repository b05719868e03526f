"""Transformer++: rotary multi-head attention and SwiGLU (arXiv 1706.03762 and 2302.13971).

The strong baseline: at smoke sizes it solves all six tasks.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-attention", "swiglu", "mh-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with heads of 16: rotary heads of 8 find the previous token late."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-attention": {"head_dim": 16}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with 16 heads of 8."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
