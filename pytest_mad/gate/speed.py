"""Speed of learning: steps to the mark, and how those of new seeds compare with recorded ones.

Final scores of small settings saturate: most defects let a small model arrive, but late. The steps do not saturate.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pytest_mad.common.records import Between, Share, require

from .ranks import chance_of, critical, orders_with

#: Of one trial; None where it did not reach the mark.
Steps = int | None
State = Literal["in time", "slower", "open"]
#: Of the recorded seeds so many may be unsolved: with more, late and never are told apart no longer.
MOST_UNSOLVED = 0.25
#: The first new seed closes the case where it is no later than this share of the recorded ones.
CLOSES_AT = 0.9
#: Of a setting's level, what the early boundary may take.
_EARLY_SHARE = 0.25


def steps_to_mark(curve: Sequence[tuple[int, float]], needed: float, sequences: int) -> Steps:
    """The step of the first evaluation at or above ``needed`` that is no accident; None where there is none.

    ``curve`` holds (step, validation accuracy) and ``needed`` is the mark as an accuracy. It is no accident where the
    next evaluation, if there is one, is at most two standard errors below the mark: those of a share that was measured
    on so many ``sequences``, for tokens of one sequence are right or wrong together.
    """
    slack = 2 * math.sqrt(needed * (1 - needed) / sequences)
    for i, (step, accuracy) in enumerate(curve):
        following = [later for _, later in curve[i + 1 : i + 2]]
        if accuracy >= needed and all(later >= needed - slack for later in following):
            return step
    return None


def pairs_later(new: Steps, recorded: Sequence[Steps]) -> int:
    """How many recorded seeds this one is strictly later than; unsolved ones are last, and tie with each other."""
    own = math.inf if new is None else new
    return sum(own > step for step in recorded if step is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What a baseline requires of the steps in which new seeds reach the mark of one setting."""

    mark: Share
    #: steps to the mark of each recorded seed; null where it did not reach it
    recorded: tuple[Annotated[int, Between(1)] | None, ...]
    #: how many new seeds may try
    most_seeds: Annotated[int, Between(1)]
    #: ``slower`` from this many pairs on in which a new seed is later than a recorded one
    flag_at: Annotated[int, Between(1)]
    #: ``slower`` also where so many first seeds are all later than all recorded ones; null for none
    early: Annotated[int, Between(1)] | None

    def __post_init__(self) -> None:
        require(any(self.recorded), list(self.recorded), "a list with at least one number", "recorded")

    @property
    def solved(self) -> list[int]:
        """Steps of the recorded seeds that reached the mark, ascending."""
        return sorted(step for step in self.recorded if step is not None)

    @property
    def latest(self) -> int:
        """Behind this step a new seed is later than every recorded one that reached the mark."""
        return self.solved[-1]

    @property
    def closes_at(self) -> int:
        """A first new seed that reaches the mark by this step closes the case."""
        return self.solved[math.ceil(CLOSES_AT * len(self.solved)) - 1]

    def state(self, new: Sequence[Steps]) -> State:
        """What the steps of the new seeds, in their order, say by now.

        U never falls as seeds are added, so the rule errs about an unchanged architecture no more often than all
        ``most_seeds`` would; ending early adds nothing.
        """
        pairs = [pairs_later(steps, self.recorded) for steps in new]
        most = len(self.solved)
        if sum(pairs) >= self.flag_at:
            return "slower"
        if self.early and pairs[: self.early] == [len(self.recorded)] * self.early:  # with no tie, not even unsolved
            return "slower"
        first_is_early = bool(new) and new[0] is not None and new[0] <= self.closes_at
        left = self.most_seeds - len(new)
        return "in time" if first_is_early or sum(pairs) + left * most < self.flag_at else "open"

    def would_flag(self, new: Sequence[Steps]) -> bool:
        """Whether one more seed that is later than all recorded ones would end in ``slower``."""
        return self.state([*new, None]) == "slower"

    @property
    def false_alarms(self) -> float:
        """In how many runs an unchanged architecture is called slower, at most."""
        count = len(self.recorded)
        early = chance_of(self.early * count, self.early, count) if self.early else 0.0
        return chance_of(self.flag_at, self.most_seeds, count) + early


def draw_pace(recorded: Sequence[Steps], mark: float, *, most_seeds: int, level: float) -> Pace | None:
    """The rule with at most this ``level`` of false alarms; None where the recorded seeds are too few or unsolved."""
    count = len(recorded)
    unsolved = sum(steps is None for steps in recorded)
    if not count or unsolved > MOST_UNSOLVED * count:
        return None
    early = next((k for k in range(1, most_seeds) if chance_of(k * count, k, count) <= _EARLY_SHARE * level), None)
    spent = chance_of(early * count, early, count) if early else 0.0
    flag_at = critical(level - spent, most_seeds, count)
    if flag_at is None or flag_at > most_seeds * (count - unsolved):
        return None
    return Pace(mark=mark, recorded=tuple(recorded), most_seeds=most_seeds, flag_at=flag_at, early=early)


class Bounds(NamedTuple):
    """Between which steps a seed reaches the mark: one number for a trial that did, open above for one that did not."""

    low: float
    high: float


class Ratio(NamedTuple):
    """How many times as many steps new seeds take: the median, and an interval. Infinite where there is no limit."""

    low_median: float
    high_median: float
    low: float
    high: float


def ratio(new: Sequence[Bounds], recorded: Sequence[Steps], confidence: float = 0.95) -> Ratio:
    """Median of all quotients new/recorded, between limits where seeds were cut, and its exact interval.

    Of seeds that did not arrive the quotient is only known from below, or not at all; it is set to either end.

    Source: Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963), 598-611, on the logarithms of the steps.
    """
    lows = sorted(0.0 if b is None else a.low / b for a in new for b in recorded)
    highs = sorted(math.inf if b is None else a.high / b for a in new for b in recorded)
    outside = _outside(len(new), len(recorded), (1 - confidence) / 2)
    return Ratio(
        statistics.median(lows),
        statistics.median(highs),
        0.0 if outside is None else lows[outside],
        math.inf if outside is None else highs[-1 - outside],
    )


def _outside(new: int, recorded: int, tail: float) -> int | None:
    """How many quotients lie outside of the interval on each side; None where so few seeds allow no interval."""
    at_most, total = itertools.accumulate(orders_with(new, recorded)), math.comb(new + recorded, new)
    rare = sum(1 for _ in itertools.takewhile(lambda count: count <= tail * total, at_most))
    return rare - 1 if rare else None
