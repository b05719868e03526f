"""Multi-head Hyena (Massaroli et al., arXiv 2310.18780; MAD, arXiv 2403.17844) and SwiGLU: MAD's best convolutions.

Expect five of the six tasks to pass at smoke sizes, and fuzzy recall to stay just below its threshold. Published MAD
scores: 97 to 99 in recall, 14 to 18 in fuzzy recall.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-hyena", "swiglu", "mh-hyena", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 4 heads of 16."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD's: two blocks of width 128 with 8 heads of 16."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
