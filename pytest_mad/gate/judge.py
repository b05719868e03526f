"""The decision rules: against a threshold, and against a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pytest_mad.common.records import Between, Score, Share
from pytest_mad.common.text import round_down

from .rule import orders

Outcome = Literal["pass", "fail", "slower", "regress", "inconclusive", "error", "skipped"]

#: What a verdict ``slower`` does to a run.
SlowerMode = Literal["fail", "warn", "pass"]


class Verdict(NamedTuple):
    """The outcome and one sentence that says why, with the numbers in it."""

    outcome: Outcome
    detail: str = ""


def judge_threshold(normalised: Sequence[float], threshold: float | None, seeds: int | None = None) -> Verdict:
    """Pass if the normalised score of every seed reaches the threshold; without one, a finished setting passes.

    Of ``seeds`` that were asked for fewer may have been trained when the time ran out: one below the threshold decides,
    but none of them below it leaves the case open.
    """
    lowest, count = min(normalised), len(normalised)
    if count < (seeds or count) and (threshold is None or lowest >= threshold):
        return Verdict("inconclusive", f"{count} of {seeds} seeds reach {round_down(lowest):.3f}, and the time ran out")
    which = f" (lowest of {count} seeds)" if count > 1 else ""
    if threshold is None:
        return Verdict("pass", f"normalised score {lowest:.3f}{which}, no threshold")
    if all(score >= threshold for score in normalised):  # a NaN reaches nothing
        return Verdict("pass", f"normalised score {lowest:.3f} reaches {threshold:g}{which}")
    return Verdict("fail", f"normalised score {round_down(lowest):.3f} is below {threshold:g}{which}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """What a baseline requires of one setting: the lowest score that passes."""

    #: file or name of the baseline, and whose scores they are
    source: str
    architecture: str
    #: how many seeds were recorded, and the lowest of their normalised scores
    seeds: Annotated[int, Between(1)]
    lowest: Score
    margin: Share
    #: what a new seed must reach
    floor: Score
    #: how many new seeds may try
    most_seeds: Annotated[int, Between(1)]

    def whose(self) -> str:
        """Which baseline, and whose entry in it."""
        whose = self.source if self.source == self.architecture else f"{self.architecture} in {self.source}"
        return f"baseline {whose}"

    def explain(self) -> str:
        """The floor, and where it comes from."""
        seeds = f"{self.seeds} seeds from {round_down(self.lowest):.3f}"
        return f"{self.floor:.6g}, the floor of {self.whose()} ({seeds})"


def draw_floor(
    source: str, architecture: str, scores: Sequence[float], *, margin: float, most_seeds: int, solved_at: float
) -> Floor:
    """The lowest recorded score minus the margin.

    Training stops at ``solved_at``, so how far above it a score happens to lie says how suddenly a model learned, and
    not how much: no score counts more. On an unchanged architecture this can only lower the floor.
    """
    lowest = min(scores)
    return Floor(
        source=source,
        architecture=architecture,
        seeds=len(scores),
        lowest=lowest,
        margin=margin,
        floor=min(lowest, solved_at) - margin,
        most_seeds=most_seeds,
    )


def judge_baseline(normalised: Sequence[float], floor: Floor, lost: int = 0) -> Verdict:
    """Pass as soon as one new seed is at or above the floor; regress if all of ``floor.most_seeds`` are below.

    ``lost`` seeds gave no score, because training diverged: they count as below it, so that an architecture which
    now and then does so is not flagged for the first.

    Exact and free of assumptions about the scores: an unchanged architecture regresses with a probability of at most
    :func:`~pytest_mad.gate.rule.false_alarm_bound`. With fewer seeds, all below, the case is open: inconclusive.
    """
    highest, count = max(normalised), len(normalised) + lost
    asked = floor.explain()
    if highest >= floor.floor:
        tries = "" if count == 1 else f" (seed {count} of at most {floor.most_seeds})"
        return Verdict("pass", f"normalised score {_enough_digits(highest, floor.floor)}{tries} reaches {asked}")
    which = ""
    if floor.most_seeds > 1:
        diverged = f", of which {lost} diverged" if lost else ""
        which = f", the highest of {count} new seeds{diverged},"
    below = f"normalised score {round_down(highest):.3f}{which} is below {asked}"
    if count < floor.most_seeds:
        return Verdict("inconclusive", f"{below}; the time ran out before {floor.most_seeds} seeds had decided")
    chance = f"an unchanged architecture would do this in 1 of {orders(floor.seeds, floor.most_seeds):,} runs at most"
    return Verdict("regress", f"{below}; {chance}")


def _enough_digits(score: float, floor: float) -> str:
    """A score that reaches the floor, rounded down, but not so far that it reads as if it did not."""
    digits = next(d for d in (3, 4, 5, 6, 17) if d == 17 or math.floor(score * 10**d) / 10**d >= float(f"{floor:.6g}"))
    return f"{math.floor(score * 10**digits) / 10**digits:.{digits}f}" if digits < 17 else f"{score:.6g}"


def judge_recording(normalised: Sequence[float]) -> Verdict:
    """A recording asks for nothing: later runs are held to what it finds."""
    lowest = f"{round_down(min(normalised)):.3f}"
    if len(normalised) == 1:
        return Verdict("pass", f"recorded 1 seed: {lowest}")
    return Verdict("pass", f"recorded {len(normalised)} seeds, lowest {lowest}, highest {max(normalised):.3f}")
