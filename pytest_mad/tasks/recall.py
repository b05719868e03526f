"""In-context recall and noisy in-context recall (MAD, arXiv 2403.17844, section 3.1).

A sequence lists key-value pairs, the same key always with the same value. At each key that was shown before, the model
must answer its value. The map from keys to values is new in every sequence. Noise replaces whole pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from pytest_mad.common.errors import require

from .base import IGNORE, Batch, BoolArray, IntArray, Players, Split, Task, TaskParams
from .levels import measured_level
from .registry import register_task

Supervise = Literal["every-token", "answers"]


@dataclass(frozen=True, kw_only=True)
class RecallParams(TaskParams):
    """``seq_len`` counts the tokens of the full sequence; the input is one shorter (multi-query).

    With ``supervise="every-token"`` training targets are MAD-Lab's: the next token everywhere, unpredictable keys
    included. ``"answers"`` trains on the scored positions only, which needs fewer steps.
    """

    multi_query: bool = True
    supervise: Supervise = "every-token"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.seq_len % 2 == 0 and self.seq_len >= 6, "seq_len", self.seq_len, "even and at least 6")
        require(self.num_keys >= 2, "vocab_size", self.vocab_size, "large enough for two keys beside the rest")
        require(self.supervise in ("every-token", "answers"), "supervise", self.supervise, "'every-token' or 'answers'")

    @property
    def usable(self) -> int:
        """Keys and values together; noise tokens follow them, then (single-query) the copy prefix."""
        return self.vocab_size - self.noise_vocab_size - (0 if self.multi_query else 1)

    @property
    def num_keys(self) -> int:
        return self.usable // 2


@dataclass(frozen=True, kw_only=True)
class NoisyRecallParams(RecallParams):
    vocab_size: int = 32
    noise_vocab_size: int = 16
    frac_noise: float = 0.2


@register_task
class InContextRecall(Task[RecallParams]):
    name = "in-context-recall"
    shorthand = "CR"
    Params = RecallParams

    def input_length(self, params: RecallParams) -> int:
        return params.seq_len - 1 if params.multi_query else params.seq_len

    def generate(self, params: RecallParams, n: int, rng: np.random.Generator, split: Split) -> Batch:
        noise = draw_noise_slots(params, n, rng)
        keys = rng.integers(0, params.num_keys, size=noise.shape)
        known, presented = first_presentations(keys, noise, params.num_keys)
        # The last pair asks for a key that is drawn uniformly from those presented.
        probe = np.where(presented, rng.random(presented.shape), -1.0).argmax(axis=1)
        keys = np.column_stack([keys, probe])
        known = np.column_stack([known, np.ones(n, dtype=bool)])

        # A value is drawn when its key first appears: the same distribution as drawing the whole map at once.
        value_of = rng.integers(params.num_keys, params.usable, size=(n, params.num_keys))
        values = np.take_along_axis(value_of, keys, axis=1)

        sequence = np.empty((n, params.seq_len), dtype=np.int64)
        sequence[:, 0::2], sequence[:, 1::2] = keys, values
        noise_tokens = np.repeat(noise, 2, axis=1)
        noise_size = (int(noise_tokens.sum()),)
        sequence[:, :-2][noise_tokens] = params.usable + rng.integers(0, max(params.noise_vocab_size, 1), noise_size)
        answers = np.full_like(sequence, IGNORE)
        answers[:, 1::2] = np.where(known, values, IGNORE)
        if not params.multi_query:
            answers[:, :-1] = IGNORE
            sequence = np.insert(sequence, -2, params.vocab_size - 1, axis=1)
            answers = np.insert(answers, -2, IGNORE, axis=1)
        next_token = split == "train" and params.supervise == "every-token"
        return Batch(sequence[:, :-1].copy(), (sequence if next_token else answers)[:, 1:].copy())

    def oracle(self, params: RecallParams) -> float:
        return 1.0

    def trivial(self, params: RecallParams) -> float:
        return measured_level(self, params, "trivial")

    def players(self, params: RecallParams) -> Players:
        return Players(partial(_recall_value, params), partial(_most_frequent_value, params))


@register_task
class NoisyInContextRecall(InContextRecall):
    name = "noisy-in-context-recall"
    shorthand = "NR"
    Params = NoisyRecallParams


def draw_noise_slots(params: RecallParams, n: int, rng: np.random.Generator) -> BoolArray:
    """Which slots before the last pair are noise, (n, seq_len/2 - 1), with at least one pair left in every row."""
    slots = params.seq_len // 2 - 1
    noise = rng.random((n, slots)) < params.frac_noise
    if params.mode == "fixed":
        noise[np.arange(n), rng.integers(0, slots, size=n)] = False
        return noise
    # MAD-Lab's protected slot may be the last pair, which is never noise anyway. Where that leaves no pair at all
    # it raises an error; here those rows are drawn again.
    protected = rng.integers(0, slots + 1, size=n)
    inside = protected < slots
    noise[np.flatnonzero(inside), protected[inside]] = False
    empty = noise.all(axis=1)
    if empty.any():
        noise[empty] = draw_noise_slots(params, int(empty.sum()), rng)
    return noise


def first_presentations(keys: IntArray, noise: BoolArray, num_keys: int) -> tuple[BoolArray, BoolArray]:
    """For each slot whether its key was presented in an earlier one, and for each key whether it was presented."""
    rows = np.arange(len(keys))
    presented = np.zeros((len(keys), num_keys), dtype=bool)
    known = np.zeros(keys.shape, dtype=bool)
    for slot in range(keys.shape[1]):
        key, is_pair = keys[:, slot], ~noise[:, slot]
        known[:, slot] = presented[rows, key] & is_pair
        presented[rows, key] |= is_pair
    return known, presented


def _pairs(params: RecallParams, inputs: IntArray) -> tuple[IntArray, IntArray, BoolArray, IntArray]:
    """Keys, values and whether the slot is a pair, each (n, slots), and the position of each slot's key."""
    positions = np.arange(0, params.seq_len - 1, 2)
    if not params.multi_query:
        positions[-1] += 1  # the copy prefix
    keys = inputs[:, positions]
    values = inputs[:, positions[:-1] + 1]
    return keys, values, keys < params.num_keys, positions


def _recall_value(params: RecallParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the value that the key had before."""
    keys, values, _, positions = _pairs(params, inputs)
    rows = np.arange(len(inputs))
    memory = np.zeros((len(inputs), params.usable + params.noise_vocab_size), dtype=np.int64)
    answers = np.zeros_like(inputs)
    for slot, position in enumerate(positions):
        answers[:, position] = memory[rows, keys[:, slot]]
        if slot < values.shape[1]:
            memory[rows, keys[:, slot]] = values[:, slot]
    return answers


def _most_frequent_value(params: RecallParams, train: Batch, inputs: IntArray) -> IntArray:
    """Answer the value that occurred most often so far, without looking at the key."""
    _, values, is_pair, positions = _pairs(params, inputs)
    rows = np.arange(len(inputs))
    counts = np.zeros((len(inputs), params.usable + params.noise_vocab_size), dtype=np.int64)
    answers = np.zeros_like(inputs)
    for slot, position in enumerate(positions):
        answers[:, position] = counts.argmax(axis=1)
        if slot < values.shape[1]:
            counts[rows, values[:, slot]] += is_pair[:, slot]
    return answers
