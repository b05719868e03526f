"""Memorization (MAD, arXiv 2403.17844, section 3.1): one map from keys to values, fixed for all data.

Pairs of a key and the insert token; at the insert token the model must answer the key's value. The same format trains
and tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_mad.common.errors import require

from .base import IGNORE, Batch, IntArray, Players, Split, Task, TaskParams
from .registry import register_task


@dataclass(frozen=True, kw_only=True)
class MemorizationParams(TaskParams):
    """``map_seed`` alone decides the map. In MAD-Lab (``mode="compat"``) the map ignores ``noise_vocab_size``, so that
    noise tokens may be values too.
    """

    vocab_size: int = 256
    seq_len: int = 32
    num_train_examples: int = 256
    map_seed: int = 12_345

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.seq_len % 2 == 0, "seq_len", self.seq_len, "even")
        require(self.map_seed >= 0, "map_seed", self.map_seed, "at least 0")
        require(
            self.num_keys >= 2 and self.usable >= 2,
            "vocab_size",
            self.vocab_size,
            "large enough for two keys, their values and the insert token beside the noise",
        )

    @property
    def usable(self) -> int:
        """Tokens below the noise tokens; the insert token is the last of the vocabulary."""
        return self.vocab_size - 1 - self.noise_vocab_size

    @property
    def mapped(self) -> int:
        """How many tokens the map's keys and values share."""
        return self.vocab_size - 1 if self.mode == "compat" else self.usable

    @property
    def num_keys(self) -> int:
        return self.mapped // 2


def draw_map(params: MemorizationParams) -> IntArray:
    """``value_of[key]``, (num_keys,): distinct values. The draws are MAD-Lab's, so the same seed gives the same map."""
    rng = np.random.default_rng(params.map_seed)
    keys = [(key,) for key in range(params.num_keys)]
    values = [(value,) for value in range(params.num_keys, params.mapped)]
    rng.shuffle(keys)
    rng.shuffle(values)
    value_of = np.empty(params.num_keys, dtype=np.int64)
    for (key,), (value,) in zip(keys, values, strict=False):  # an odd vocabulary leaves one value over
        value_of[key] = value
    return value_of


@register_task
class Memorization(Task[MemorizationParams]):
    name = "memorization"
    shorthand = "M"
    Params = MemorizationParams

    def generate(self, params: MemorizationParams, n: int, rng: np.random.Generator, split: Split) -> Batch:
        slots = params.seq_len // 2
        keys = rng.integers(0, params.num_keys, size=(n, slots))
        inputs = np.full((n, params.seq_len), params.vocab_size - 1, dtype=np.int64)
        targets = np.full((n, params.seq_len), IGNORE, dtype=np.int64)
        inputs[:, 0::2] = keys
        targets[:, 1::2] = draw_map(params)[keys]

        noise = rng.random((n, slots)) < params.frac_noise
        noise[np.arange(n), rng.integers(0, slots, size=n)] = False  # at least one pair
        noise_tokens = np.repeat(noise, 2, axis=1)
        noise_size = (int(noise_tokens.sum()),)
        inputs[noise_tokens] = params.usable + rng.integers(0, max(params.noise_vocab_size, 1), noise_size)
        targets[noise_tokens] = IGNORE
        return Batch(inputs, targets)

    def oracle(self, params: MemorizationParams) -> float:
        """Expected share of test keys that occur in the training data, plus the guesses that are left for the others.

        Each key is missing with probability ``(1 - 1/K)^draws``, so that about Poisson(m) are. An unseen key has one of
        the values that were never seen: those of the m missing keys and, in an odd vocabulary, one that no key has.
        """
        pairs = params.seq_len // 2
        draws = params.num_train_examples * (1 + (pairs - 1) * (1 - params.frac_noise))
        unseen = (1 - 1 / params.num_keys) ** draws
        missing = unseen * params.num_keys
        some_missing = -math.expm1(-missing)
        ratio = some_missing / missing if missing > 0 else 1.0
        guessed = some_missing if params.mapped % 2 == 0 else 1 - ratio
        return float(1 - unseen + guessed / params.num_keys)

    def trivial(self, params: MemorizationParams) -> float:
        return 1 / params.num_keys

    def players(self, params: MemorizationParams) -> Players:
        return Players(partial(_look_up, params), partial(_constant, params))


def _look_up(params: MemorizationParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the value that the key had in training, or for a key that was not there, some value never seen."""
    scored = np.flatnonzero(train.targets[:, 1::2] != IGNORE)
    keys, values = train.inputs[:, 0::2].ravel()[scored], train.targets[:, 1::2].ravel()[scored]
    unseen = np.setdiff1d(np.arange(params.num_keys, params.mapped), values)
    memory = np.full(params.vocab_size, unseen[0] if len(unseen) else params.num_keys)
    memory[keys] = values
    predictions = inputs.copy()
    predictions[:, 1::2] = memory[inputs[:, 0::2]]
    return predictions


def _constant(params: MemorizationParams, train: Batch, inputs: IntArray) -> IntArray:
    """Always answer the same value, that of key 0."""
    return np.full_like(inputs, draw_map(params)[0])
