"""RWKV-7 (Peng et al., arXiv 2503.14456): time and channel mixers, which both see the previous token.

Expect all six tasks to pass at smoke sizes, recall within 50 steps: the token shift brings each key to its value.
Published MAD scores: 100 in recall, 18 in fuzzy recall, 89 in memorization.
"""

from __future__ import annotations

from torch import nn

from reference_archs._stack import paper_stack, small_stack

LAYERS = ("rwkv7-time-mixer", "rwkv6-channel-mixer", "rwkv7-time-mixer", "rwkv6-channel-mixer")


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 64 with 4 heads of 16: a state of 2 x 1,024."""
    return small_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)


def make_paper_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """Two blocks of width 128 with 8 heads of 16: a state of 2 x 2,048, as MAD compares."""
    return paper_stack(LAYERS, task=task, vocab_size=vocab_size, max_length=max_length)
