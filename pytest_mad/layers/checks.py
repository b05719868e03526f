"""Limits of a layer, checked where they are met."""

from __future__ import annotations


def check_length(length: int, max_length: int) -> None:
    """Raise a ValueError if an input reaches beyond the position that a length-bound layer was built for."""
    if length > max_length:
        raise ValueError(f"the input has {length} positions, the layer was built with max_length={max_length}")
