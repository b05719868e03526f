"""What verdicts mean for every report alike."""

from __future__ import annotations

from typing import TypeGuard

from .result import ContractResult, ItemResult


def passes(result: ItemResult | None) -> bool:
    """Whether this is there and passed."""
    return result is not None and result.passed


def fails(result: ItemResult | None) -> bool:
    """Whether this is there and fails its run."""
    return result is not None and result.verdict != "skipped" and not result.passed


def is_warning(result: ItemResult) -> TypeGuard[ContractResult]:
    """Whether this is a broken contract that passes because it only warns."""
    return isinstance(result, ContractResult) and result.passed and bool(result.warned)
