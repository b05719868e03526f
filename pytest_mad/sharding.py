"""xdist: the order of items, and how many workers ``auto`` means."""

from __future__ import annotations

import os


def order(costs: list[float], workers: int) -> list[int]:
    """Indices of items in the order they should be sent out: the given order for a single process.

    xdist hands each of its workers two items at first (up to a dozen items per worker). So the i-th longest of the
    first two per worker is paired with the i-th shortest of them, and the rest follow longest first. Fewer items than
    that it deals out one by one, round the workers: then the shortest of the long ones get company. A pure function of
    committed costs: every worker must collect the same order.
    """
    if workers < 2:
        return list(range(len(costs)))
    longest_first = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    if len(costs) < 2 * workers:
        return longest_first[:workers][::-1] + longest_first[workers:]
    head, rest = longest_first[: 2 * workers], longest_first[2 * workers :]
    long, short = head[: (len(head) + 1) // 2], head[(len(head) + 1) // 2 :]
    paired = []
    for i, index in enumerate(long):
        paired.append(index)
        if i < len(short):
            paired.append(short[-1 - i])
    return paired + rest


def cores() -> int:
    """Cores this process may use; containers often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
