"""Compression (MAD, arXiv 2403.17844, section 3.1): random tokens through one vector, and back.

The model is an autoencoder: only its vector at the last position, the compression token, is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_mad.common.errors import require

from .base import IGNORE, Batch, IntArray, Players, Split, Task, TaskParams
from .registry import register_task


@dataclass(frozen=True, kw_only=True)
class CompressionParams(TaskParams):
    """Noise tokens are not scored; in MAD-Lab (``mode="compat"``) they are."""

    seq_len: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_content >= 2, "vocab_size", self.vocab_size, "large enough for two content tokens")

    @property
    def num_content(self) -> int:
        return self.vocab_size - 1 - self.noise_vocab_size


@register_task
class Compression(Task[CompressionParams]):
    name = "compression"
    shorthand = "C"
    Params = CompressionParams
    bottleneck = True

    def generate(self, params: CompressionParams, n: int, rng: np.random.Generator, split: Split) -> Batch:
        shape = (n, params.seq_len - 1)
        content = rng.integers(0, params.num_content, size=shape)
        noise = rng.random(shape) < params.frac_noise
        noise_tokens = params.num_content + rng.integers(0, max(params.noise_vocab_size, 1), size=shape)
        body = np.where(noise, noise_tokens, content)
        inputs = np.column_stack([body, np.full(n, params.vocab_size - 1)])
        targets = inputs.copy()
        if params.mode == "fixed":
            targets[:, :-1][noise] = IGNORE
        return Batch(inputs, targets)

    def oracle(self, params: CompressionParams) -> float:
        """1 in terms of information; what a vector of floats can learn to hold is less."""
        return 1.0

    def trivial(self, params: CompressionParams) -> float:
        """The best constant everywhere but at the last position, which is always the compression token."""
        body, noise = params.seq_len - 1, params.frac_noise
        if params.mode == "fixed":
            scored = body * (1 - noise)
            return (1 + scored / params.num_content) / (1 + scored)
        constant = max((1 - noise) / params.num_content, noise / max(params.noise_vocab_size, 1))
        return (1 + body * constant) / (1 + body)

    def players(self, params: CompressionParams) -> Players:
        return Players(_repeat, partial(_constant, params))


def _repeat(train: Batch, inputs: IntArray) -> IntArray:
    """Answer the input itself."""
    return inputs


def _constant(params: CompressionParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the most frequent training target of the body, and the compression token at the end."""
    body = train.targets[:, :-1]
    counts = np.bincount(body[body != IGNORE], minlength=params.vocab_size)
    predictions = np.full_like(inputs, counts.argmax())
    predictions[:, -1] = params.vocab_size - 1
    return predictions
