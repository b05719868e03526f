"""Striped multi-head Hyena (MAD, arXiv 2403.17844): one layer of convolutions and one of attention, MAD's best family.

Expect all six tasks to pass at smoke sizes, recall in a quarter of the steps that attention alone needs: the
convolutions bring each key to its value, attention finds them.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-hyena", "swiglu", "mh-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with heads of 16."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-attention": {"head_dim": 16}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128, with 8 heads of 16 and 16 heads of 8."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
