"""Striped multi-head Hyena with experts (MAD, arXiv 2403.17844): MAD's best score overall.

Expect all six tasks to pass at smoke sizes, about as quickly as with SwiGLU.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-hyena", "moe-mlp", "mh-attention", "moe-mlp")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with heads of 16, and 8 experts of which 2 are active."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-attention": {"head_dim": 16}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128, with 8 heads of 16 and 16 heads of 8, and 8 experts of which 2 are active."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
