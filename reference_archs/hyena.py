"""Hyena (Poli et al., arXiv 2302.10866) and SwiGLU: long convolutions between gates, the same for every input.

Expect five of the six tasks to pass at smoke sizes, and fuzzy recall to stay below its threshold: a convolution cannot
compare what it moves. Published MAD scores: about 80 in recall, 8 in fuzzy recall.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("hyena", "swiglu", "hyena", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64: 256 long filters each."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with 512 long filters each."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
