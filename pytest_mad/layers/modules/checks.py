"""Limits of a layer, each checked where it is met, in one line that names the argument."""

from __future__ import annotations

import math


def check_length(length: int, max_length: int) -> None:
    """Raise a ValueError if an input reaches beyond the position that a length-bound layer was built for."""
    if length > max_length:
        raise ValueError(f"the input has {length} positions, the layer was built with max_length={max_length}")


def check_counts(**counts: int) -> None:
    """Raise a ValueError that names the first argument which is no whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {count!r}")


def check_positive(**numbers: float) -> None:
    """Raise a ValueError that names the first argument which is no finite number above 0."""
    for name, number in numbers.items():
        if not isinstance(number, int | float) or not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive, not {number!r}")
