"""The decision rule against a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pytest_mad.result import round_down

Outcome = Literal["pass", "fail", "regress", "inconclusive", "error", "skipped"]


class Verdict(NamedTuple):
    """The outcome and one sentence that says why, with the numbers in it."""

    outcome: Outcome
    detail: str = ""


def judge_threshold(normalised: Sequence[float], threshold: float | None) -> Verdict:
    """Pass if the normalised score of every seed reaches the threshold; without one, a finished setting passes."""
    lowest = min(normalised)
    seeds = f" (lowest of {len(normalised)} seeds)" if len(normalised) > 1 else ""
    if threshold is None:
        return Verdict("pass", f"normalised score {lowest:.3f}{seeds}, no threshold")
    if all(score >= threshold for score in normalised):
        return Verdict("pass", f"normalised score {lowest:.3f} reaches {threshold:g}{seeds}")
    return Verdict("fail", f"normalised score {round_down(lowest):.3f} is below {threshold:g}{seeds}")
