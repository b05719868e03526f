"""Channel mixers only: a negative control.

No token sees another, so every task must end at its trivial level or below. A pass would mean that the metric or
the data leaks.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mlp", "swiglu", "mlp", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Four channel mixers of width 64."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Four channel mixers of width 128, MAD's."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
