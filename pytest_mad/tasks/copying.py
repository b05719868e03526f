"""Selective copying (MAD, arXiv 2403.17844, section 3.1): repeat the content tokens in order, without the blanks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_mad.common.errors import require

from .base import IGNORE, Batch, IntArray, Players, Split, Task, TaskParams
from .levels import measured_level
from .registry import register_task


@dataclass(frozen=True, kw_only=True)
class CopyingParams(TaskParams):
    """``num_tokens_to_copy`` content tokens among blanks, the copy token, and as many blanks to answer at."""

    seq_len: int = 256
    num_tokens_to_copy: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_tokens_to_copy >= 2, "num_tokens_to_copy", self.num_tokens_to_copy, "at least 2")
        shortest = 2 * self.num_tokens_to_copy + 2
        require(self.seq_len >= shortest, "seq_len", self.seq_len, f"at least {shortest} for that num_tokens_to_copy")
        require(self.num_content >= 2, "vocab_size", self.vocab_size, "at least 4: two contents, blank, copy token")
        require(self.frac_noise == 0, "frac_noise", self.frac_noise, "0: this task has no noise")

    @property
    def num_content(self) -> int:
        return self.vocab_size - 2

    @property
    def blank(self) -> int:
        return self.vocab_size - 2


@register_task
class SelectiveCopying(Task[CopyingParams]):
    name = "selective-copying"
    shorthand = "SC"
    Params = CopyingParams

    def generate(self, params: CopyingParams, n: int, rng: np.random.Generator, split: Split) -> Batch:
        copied = params.num_tokens_to_copy
        content = rng.integers(0, params.num_content, size=(n, copied))
        blanks = params.seq_len - 2 * copied - 1
        # Each blank goes in front of a content token that is drawn uniformly; how many go where is multinomial.
        before = rng.multinomial(blanks, np.full(copied, 1 / copied), size=n)
        places = np.arange(copied) + before.cumsum(axis=1)

        inputs = np.full((n, params.seq_len), params.blank, dtype=np.int64)
        np.put_along_axis(inputs, places, content, axis=1)
        inputs[:, -copied - 1] = params.vocab_size - 1
        targets = np.full_like(inputs, IGNORE)
        targets[:, -copied:] = content
        return Batch(inputs, targets)

    def oracle(self, params: CopyingParams) -> float:
        return 1.0

    def trivial(self, params: CopyingParams) -> float:
        return measured_level(self, params, "trivial")

    def players(self, params: CopyingParams) -> Players:
        return Players(partial(_copy, params), partial(_most_frequent, params))


def _copy(params: CopyingParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the content tokens in order."""
    predictions = np.zeros_like(inputs)
    content = inputs[inputs < params.num_content]
    predictions[:, -params.num_tokens_to_copy :] = content.reshape(len(inputs), -1)
    return predictions


def _most_frequent(params: CopyingParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the content token that is most frequent in the sequence, everywhere; of several the lowest."""
    content = inputs[inputs < params.num_content].reshape(len(inputs), -1)
    counts = np.stack([(content == column[:, None]).sum(axis=1) for column in content.T], axis=1)
    is_most = counts == counts.max(axis=1, keepdims=True)
    answers = np.where(is_most, content, params.num_content).min(axis=1)
    return np.repeat(answers[:, None], inputs.shape[1], axis=1)
