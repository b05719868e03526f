"""How well a scripted player does on fresh data, and how sure that is."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from pytest_mad.tasks import IGNORE, Batch, get_task
from tests.oracles.reading import fuzzy_answers, fuzzy_pairs
from tests.oracles.slow_instances import Ints


class Played(NamedTuple):
    """An accuracy with its standard error. The sequence is the unit: answers within one are not independent."""

    accuracy: float
    error: float


def judge(predictions: Ints, targets: Ints) -> Played:
    """Micro accuracy, a ratio of two sums over sequences, and the error of that ratio."""
    scored = targets != IGNORE
    right_N, asked_N = ((predictions == targets) & scored).sum(1), scored.sum(1)
    accuracy = right_N.sum() / asked_N.sum()
    residual_N = right_N - accuracy * asked_N
    return Played(float(accuracy), float(residual_N.std() / asked_N.mean() / len(targets) ** 0.5))


def play(name: str, params: Any, which: str, n: int = 2_000, seed: int = 11) -> Played:
    """Let a task's own scripted player answer n test sequences it has not seen, after seeing the training data."""
    task = get_task(name)
    train_stream, test_stream = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    train = task.generate(params, min(params.num_train_examples, 1_000), train_stream, "train")
    test = task.generate(params, n, test_stream, "test")
    return judge(getattr(task.players(params), which)(train, test.inputs.copy()), test.targets)


def coverage_error(params: Any) -> float:
    """Standard deviation, over memorization's training sets without noise, of the share of keys that occur in them."""
    per_key = params.num_train_examples * (params.seq_len // 2) / params.num_keys
    missed = np.exp(-per_key)
    return float(np.sqrt(missed * (1 - (1 + per_key) * missed) / params.num_keys))


def expected_answers(params: Any) -> float:
    """Mean number of scored targets of a multi-query recall sequence, exactly (but for all-noise sequences)."""
    slots, keep = params.seq_len // 2, 1 - params.frac_noise
    protectable = slots - 1 if params.mode == "fixed" else slots
    totals: list[float] = []
    for protected in range(protectable):
        shown_S = np.full(slots - 1, keep)
        shown_S[protected : protected + 1] = 1.0
        missed_S = np.cumprod(1 - shown_S / params.num_keys)
        totals.append(1 + float((shown_S[1:] * (1 - missed_S[:-1])).sum()))
    return sum(totals) / len(totals)


def fuzzy_counting(params: Any, row: list[int]) -> tuple[int, int]:
    """How many answers of one fuzzy sequence the most frequent value token gets right, and how many there are.

    A value repeats no token, so those that it has already are left out; among equals the smallest counts.
    """
    counts: Counter[int] = Counter()
    right = asked = 0
    answers = fuzzy_answers(params, row)
    for _, value in fuzzy_pairs(params, row):
        for index, token in enumerate(value.tokens):
            if answers[value.start + index - 1] != IGNORE:
                left = [t for t in range(params.num_keys, params.usable) if t not in value.tokens[:index]]
                right += max(left, key=lambda t: counts[t]) == token
                asked += 1
            counts[token] += 1
    return right, asked


def most_recent_value(params: Any, train: Batch, inputs: Ints) -> Ints:
    """A weaker guess for recall with many queries: the value that was shown last."""
    answers = np.zeros_like(inputs)
    latest_N = np.full(len(inputs), params.num_keys)
    for place in range(0, inputs.shape[1], 2):
        answers[:, place] = latest_N
        if place + 1 < inputs.shape[1]:
            is_pair_N = inputs[:, place] < params.num_keys
            latest_N = np.where(is_pair_N, inputs[:, place + 1], latest_N)
    return answers
