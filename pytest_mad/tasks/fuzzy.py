"""Fuzzy in-context recall (MAD, arXiv 2403.17844, section 3.1): keys and values are motifs of several tokens.

A motif is an ordered tuple of distinct tokens. Training keys have 1 to ``k_motif_size`` tokens, test keys always the
largest number; values have 1 to ``v_motif_size``. The last pair of a sequence repeats a pair shown before: the probe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_mad.common.errors import require

from .base import IGNORE, Batch, BoolArray, IntArray, Players, Split, Task, TaskParams
from .levels import measured_level
from .recall import Supervise
from .registry import register_task

#: Fills a motif's row behind its last token.
_NONE = -1


@dataclass(frozen=True, kw_only=True)
class FuzzyRecallParams(TaskParams):
    """``mode="fixed"`` always shows the probe pair; MAD-Lab (``"compat"``) leaves it out of 2.4 % of sequences."""

    k_motif_size: int = 3
    v_motif_size: int = 3
    multi_query: bool = True
    supervise: Supervise = "every-token"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.k_motif_size >= 1, "k_motif_size", self.k_motif_size, "at least 1")
        require(self.v_motif_size >= 1, "v_motif_size", self.v_motif_size, "at least 1")
        require(
            self.num_keys >= max(2, self.k_motif_size) and self.num_values >= max(2, self.v_motif_size),
            "vocab_size",
            self.vocab_size,
            "large enough for two keys and two values, and motifs of distinct tokens",
        )
        shortest = 2 * self.longest_pair + 1
        require(self.seq_len >= shortest, "seq_len", self.seq_len, f"at least {shortest} for these motif sizes")
        require(self.supervise in ("every-token", "answers"), "supervise", self.supervise, "'every-token' or 'answers'")

    @property
    def usable(self) -> int:
        """Keys and values together; noise tokens, the pad token and (single-query) the copy prefix follow."""
        return self.pad - self.noise_vocab_size

    @property
    def pad(self) -> int:
        return self.vocab_size - (1 if self.multi_query else 2)

    @property
    def num_keys(self) -> int:
        return self.usable // 2

    @property
    def num_values(self) -> int:
        return self.usable - self.num_keys

    @property
    def longest_pair(self) -> int:
        return self.k_motif_size + self.v_motif_size


@dataclass(frozen=True)
class _Motifs:
    """Motifs of n rows: tokens (n, size), filled up with ``_NONE``, and their lengths (n,)."""

    tokens: IntArray
    lengths: IntArray

    def where(self, rows: BoolArray, others: _Motifs) -> _Motifs:
        """These motifs in the given rows and the others elsewhere."""
        return _Motifs(
            np.where(rows[:, None], self.tokens, others.tokens), np.where(rows, self.lengths, others.lengths)
        )


@register_task
class FuzzyInContextRecall(Task[FuzzyRecallParams]):
    name = "fuzzy-in-context-recall"
    shorthand = "FR"
    Params = FuzzyRecallParams

    def generate(self, params: FuzzyRecallParams, n: int, rng: np.random.Generator, split: Split) -> Batch:
        probe_key, probe_value = _draw_key(params, n, rng, split), _draw_value(params, n, rng)
        probe_length = probe_key.lengths + probe_value.lengths
        end = params.seq_len - probe_length - params.longest_pair
        offset = rng.integers(0, params.seq_len - 2 * probe_length)
        if params.mode == "fixed":
            # Beyond this point the loop may end before it reaches the offset, and the probe be asked but never shown.
            offset = np.minimum(offset, np.maximum(0, end - params.longest_pair))

        capacity = params.seq_len // 2  # the shortest pair has two tokens
        rows = _Rows(params, n, _Memory(capacity, probe_key, probe_value))
        shown = np.zeros(n, dtype=bool)
        while (active := rows.length < end).any():
            key, value = _draw_key(params, n, rng, split), _draw_value(params, n, rng)
            insert = active & (rows.length >= offset) & ~shown
            noise = active & ~insert & (rng.random(n) < params.frac_noise)
            rows.append_noise(noise, key.lengths + value.lengths, rng)
            is_probe = rows.append_pair(active & ~noise, probe_key.where(insert, key), value)
            shown |= is_probe
        if not params.multi_query:
            rows.append_token(np.ones(n, dtype=bool), params.vocab_size - 1)
        rows.append_pair(np.ones(n, dtype=bool), probe_key, probe_value, final=True)

        sequence, answers = rows.left_padded()
        next_token = split == "train" and params.supervise == "every-token"
        return Batch(sequence[:, :-1].copy(), (sequence if next_token else answers)[:, 1:].copy())

    def oracle(self, params: FuzzyRecallParams) -> float:
        """1, unless ``compat`` asks for pairs that were never shown."""
        return 1.0 if params.mode == "fixed" else measured_level(self, params, "oracle")

    def trivial(self, params: FuzzyRecallParams) -> float:
        return measured_level(self, params, "trivial")

    def players(self, params: FuzzyRecallParams) -> Players:
        return Players(partial(_play, params, True), partial(_play, params, False))


def _draw_key(params: FuzzyRecallParams, n: int, rng: np.random.Generator, split: Split) -> _Motifs:
    size = params.k_motif_size
    lengths = rng.integers(1, size + 1, size=n) if split == "train" else np.full(n, size)
    return _draw_motifs(n, 0, params.num_keys, size, lengths, rng)


def _draw_value(params: FuzzyRecallParams, n: int, rng: np.random.Generator) -> _Motifs:
    lengths = rng.integers(1, params.v_motif_size + 1, size=n)
    return _draw_motifs(n, params.num_keys, params.num_values, params.v_motif_size, lengths, rng)


def _draw_motifs(n: int, first: int, tokens: int, size: int, lengths: IntArray, rng: np.random.Generator) -> _Motifs:
    """Uniform ordered tuples of distinct tokens. MAD-Lab lists all permutations instead: hours for 128 tokens."""
    motifs = np.empty((n, size), dtype=np.int64)
    for j in range(size):
        # The j-th token is one of the tokens that are left: step over each smaller one that was taken.
        draw = rng.integers(0, tokens - j, size=n)
        for taken in np.sort(motifs[:, :j], axis=1).T:
            draw += draw >= taken
        motifs[:, j] = draw
    motifs += first
    motifs[np.arange(size) >= lengths[:, None]] = _NONE
    return _Motifs(motifs, lengths)


class _Memory:
    """The pairs each row has fixed so far, the probe first; a key that comes again repeats its value."""

    def __init__(self, capacity: int, key: _Motifs, value: _Motifs) -> None:
        n, v_motif_size = value.tokens.shape
        self.codes = np.full((n, capacity + 1), _NONE, dtype=np.int64)
        self.values = np.full((n, capacity + 1, v_motif_size), _NONE, dtype=np.int64)
        self.presented = np.zeros((n, capacity + 1), dtype=bool)
        self.codes[:, 0], self.values[:, 0] = self._code(key), value.tokens
        self.size = 1

    @staticmethod
    def _code(key: _Motifs) -> IntArray:
        """One number per motif, different for different motifs."""
        code = np.zeros(len(key.tokens), dtype=np.int64)
        for column in key.tokens.T:
            code = code * 1_000_003 + column + 2
        return code

    def recall(self, rows: BoolArray, key: _Motifs, fresh: _Motifs) -> tuple[_Motifs, BoolArray, BoolArray]:
        """Let ``rows`` present their key.

        Returns each row's value (``fresh`` for a new key), whether its key was presented before, and whether it is
        the probe.
        """
        code, everyone = self._code(key), np.arange(len(key.tokens))
        self.codes[:, self.size] = code  # so that a new key, too, is found: at the end
        index = (self.codes[:, : self.size + 1] == code[:, None]).argmax(axis=1)
        new = index == self.size
        self.values[new, self.size] = fresh.tokens[new]
        value = self.values[everyone, index]
        known = self.presented[everyone, index]
        self.presented[everyone, index] |= rows
        self.codes[~(new & rows), self.size] = _NONE
        self.size += 1
        return _Motifs(value, (value != _NONE).sum(axis=1)), known, index == 0


class _Rows:
    """Sequences of different lengths that grow together."""

    def __init__(self, params: FuzzyRecallParams, n: int, memory: _Memory) -> None:
        self.params = params
        self.memory = memory
        self.sequence = np.full((n, params.seq_len + 1), params.pad, dtype=np.int64)
        self.answers = np.full((n, params.seq_len + 1), IGNORE, dtype=np.int64)
        self.length = np.zeros(n, dtype=np.int64)

    def append_token(self, rows: BoolArray, token: IntArray | int, answer: IntArray | int = IGNORE) -> None:
        at, where = np.flatnonzero(rows), self.length[rows]
        self.sequence[at, where] = token
        self.answers[at, where] = answer
        self.length[at] += 1

    def append_noise(self, rows: BoolArray, lengths: IntArray, rng: np.random.Generator) -> None:
        for j in range(self.params.longest_pair if rows.any() else 0):
            now = rows & (j < lengths)
            self.append_token(now, self.params.usable + rng.integers(0, self.params.noise_vocab_size, int(now.sum())))

    def append_pair(self, rows: BoolArray, key: _Motifs, value: _Motifs, final: bool = False) -> BoolArray:
        """Append the key and its value and return which rows showed the probe pair."""
        value, known, is_probe = self.memory.recall(rows, key, value)
        scored = np.ones_like(rows) if final else known & self.params.multi_query
        for column, j in zip(key.tokens.T, range(key.tokens.shape[1]), strict=True):
            now = rows & (j < key.lengths)
            self.append_token(now, column[now])
        for column, j in zip(value.tokens.T, range(value.tokens.shape[1]), strict=True):
            now = rows & (j < value.lengths)
            self.append_token(now, column[now], np.where(scored, column, IGNORE)[now])
        return rows & is_probe

    def left_padded(self) -> tuple[IntArray, IntArray]:
        """Sequence and answers, each (n, seq_len + 1), with the pads moved in front."""
        columns = np.arange(self.sequence.shape[1])
        source = (columns - (self.sequence.shape[1] - self.length)[:, None]) % self.sequence.shape[1]
        return np.take_along_axis(self.sequence, source, axis=1), np.take_along_axis(self.answers, source, axis=1)


def _play(params: FuzzyRecallParams, recall: bool, train: Batch, inputs: IntArray) -> IntArray:
    """Answer each value token; see :func:`_next_value_tokens`."""
    predictions = np.zeros_like(inputs)
    for row, tokens in enumerate(inputs.tolist()):
        for position, token in enumerate(_next_value_tokens(params, recall, tokens)):
            predictions[row, position] = token
    return predictions


def _next_value_tokens(params: FuzzyRecallParams, recall: bool, tokens: list[int]) -> Iterator[int]:
    """Read one test sequence and guess, behind each token, the value token that may come next.

    With ``recall`` it is the one that followed the same key and value so far. Without, or for a new key, it is the
    value token that was most frequent so far among those that are not in the value already.
    """
    memory: dict[tuple[int, ...], int] = {}
    counts: Counter[int] = Counter()
    key: list[int] = []
    value: list[int] = []
    for token in tokens:
        if token < params.num_keys:
            if value:
                key, value = [], []
            key.append(token)
        elif token < params.usable:
            memory.setdefault((*key, *value), token)
            value.append(token)
            counts[token] += 1
        else:
            key, value = [], []
        # Of the values that never occurred only the lowest one counts; a large vocabulary has many.
        lowest = next((t for t in range(params.num_keys, params.usable) if t not in value), params.num_keys)
        guess = max({lowest, *counts}, key=lambda t: (t not in value, counts[t], -t))
        yield memory.get((*key, *value), guess) if recall else guess
