"""Sliding-window attention: a negative control.

Two layers with a window of 4 see seven tokens. That is enough to memorize a fixed map, and too little to recall or copy
from further back; there it must fail.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-sliding-attention", "swiglu", "mh-sliding-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with a window of 4 tokens."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-sliding-attention": {"head_dim": 16, "window": 4}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with a window of 33 tokens, as its kernel counts."""
    return paper_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-sliding-attention": {"compat": True}},
    )
