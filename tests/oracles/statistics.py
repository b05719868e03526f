"""Do two samples of sequences come from one distribution? Tests with a bounded false alarm level and no dependency."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FALSE_ALARM = 1e-6
"""Of one comparison, all its features together. Seeds are fixed besides: a comparison that passes goes on passing."""


def chi_square_tail(statistic: float, freedom: int) -> float:
    """An upper bound (Chernoff's) of the probability that a chi-square variable reaches `statistic`."""
    if statistic <= freedom:
        return 1.0
    ratio = statistic / freedom
    return math.exp(freedom / 2 * (1 - ratio + math.log(ratio)))


def same_histogram(first_N: Ints, second_M: Ints, least_expected: float = 8.0) -> float:
    """The p-value (a bound) of two independent samples of a categorical variable being from one distribution.

    Categories that are too rare for the chi-square approximation are counted as one.
    """
    both = np.concatenate([first_N, second_M])
    _, category = np.unique(both, return_inverse=True)
    counts_2C = np.stack(
        [np.bincount(part, minlength=category.max() + 1) for part in np.split(category, [len(first_N)])]
    )
    share_2 = counts_2C.sum(1, keepdims=True) / len(both)
    rare_C = counts_2C.sum(0) * share_2.min() < least_expected
    counts_2C = np.concatenate([counts_2C[:, ~rare_C], counts_2C[:, rare_C].sum(1, keepdims=True)], axis=1)
    counts_2C = counts_2C[:, counts_2C.sum(0) > 0]
    expected_2C = counts_2C.sum(0) * share_2
    statistic = float(((counts_2C - expected_2C) ** 2 / expected_2C).sum())
    freedom = counts_2C.shape[1] - 1
    return chi_square_tail(statistic, freedom) if freedom else 1.0


def assert_same_distribution(fast: Mapping[str, Ints], slow: Mapping[str, Ints]) -> None:
    """Each feature is (n,) or (n, columns): one integer per sequence and column.

    Sequences are independent, columns need not be: the smallest of their p-values counts, times their number.
    """
    assert fast.keys() == slow.keys()
    p_value: dict[str, float] = {}
    for name in fast:
        columns, others = np.atleast_2d(fast[name].T), np.atleast_2d(slow[name].T)
        assert columns.shape[0] == others.shape[0], f"{name}: {columns.shape[0]} columns, {others.shape[0]} expected"
        for place, (ours, theirs) in enumerate(zip(columns, others, strict=True)):
            p_value[f"{name}[{place}]"] = same_histogram(ours, theirs)
    worst = min(p_value, key=lambda name: p_value[name])
    assert p_value[worst] * len(p_value) > FALSE_ALARM, (
        f"{worst} differs from the slow oracle's: p < {p_value[worst]:.1e}, {len(p_value)} features compared"
    )
