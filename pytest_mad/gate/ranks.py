"""Exact null distributions of the Mann-Whitney statistic: counts of orders, no approximation.

U is the number of pairs (new, recorded) in which the new seed is strictly later. If both are seeds of one architecture,
each of the C(B + n, n) orders in which n new and B recorded seeds may come is equally likely. A tie counts 0, so ties
only lower U, and with it every probability below.

Source: Mann and Whitney, Annals of Mathematical Statistics 18 (1947), 50-60.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


@functools.cache
def orders_with(new: int, recorded: int) -> tuple[int, ...]:
    """How many of the C(B + n, n) orders have U = 0, 1, ..., n B: the coefficients of a Gaussian binomial."""
    counts = [1] + [0] * (new * recorded)
    for i in range(1, new + 1):  # times (1 - q^(B + i)) / (1 - q^i)
        for u in range(len(counts) - 1, recorded + i - 1, -1):
            counts[u] -= counts[u - recorded - i]
        for u in range(i, len(counts)):
            counts[u] += counts[u - i]
    return tuple(counts)


def chance_of(at_least: int, new: int, recorded: int) -> float:
    """P(U >= ``at_least``) of ``new`` seeds beside ``recorded`` ones of the same architecture."""
    counts = orders_with(new, recorded)
    return sum(counts[max(0, at_least) :]) / math.comb(recorded + new, new)


def critical(level: float, new: int, recorded: int) -> int | None:
    """The smallest U that is as rare as ``level`` or rarer; None where not even the largest is."""
    return _first_rare(level, orders_with(new, recorded))


@functools.cache
def first_seeds(recorded: tuple[int, ...]) -> tuple[int, ...]:
    """How many orders give U = 0, 1, ... as the sum over settings, of each of which one new seed is compared.

    Seeds of different settings are independent, so the distribution is the convolution of the settings'.
    """
    counts = [1]
    for number in recorded:  # one new seed is later than 0, 1, ..., B recorded ones, each as likely
        counts = [sum(counts[max(0, u - number) : u + 1]) for u in range(len(counts) + number)]
    return tuple(counts)


def pooled_chance_of(at_least: int, recorded: Sequence[int]) -> float:
    """P(sum of U >= ``at_least``) over settings with so many recorded seeds and one new seed each."""
    counts = first_seeds(tuple(recorded))
    return sum(counts[max(0, at_least) :]) / sum(counts)


def pooled_critical(level: float, recorded: Sequence[int]) -> int | None:
    """The smallest sum that is as rare as ``level`` or rarer; None where not even the largest is."""
    return _first_rare(level, first_seeds(tuple(recorded)))


def _first_rare(level: float, counts: Sequence[int]) -> int | None:
    total, tail, found = sum(counts), 0, None
    for u in range(len(counts) - 1, -1, -1):
        tail += counts[u]
        if tail > level * total:
            break
        found = u
    return found
