"""Striped Mamba (after MAD, arXiv 2403.17844): one layer of Mamba and one of attention.

Expect all six tasks to pass at smoke sizes, recall within 50 to 150 steps: quicker than either layer alone.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mamba", "swiglu", "mh-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64, attention with heads of 16."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-attention": {"head_dim": 16}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 128, attention with 16 heads of 8."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
