"""Ungated linear attention (Katharopoulos et al., arXiv 2006.16236) with the feature map elu + 1, and SwiGLU.

Its state is a sum over all keys, from which close keys are told apart late in training, if at all. At smoke sizes
expect it to fail in-context and fuzzy recall, and to need many times the steps of attention for noisy recall.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("mh-linear-attention", "swiglu", "mh-linear-attention", "swiglu")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with heads of 16."""
    return small_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-linear-attention": {"head_dim": 16, "feature_map": "elu"}},
    )


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 128 with 16 heads of 8."""
    return paper_stack(
        LAYERS,
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-linear-attention": {"feature_map": "elu"}},
    )
