"""One test of speed over all settings of an architecture: what is late everywhere by a little shows in the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .judge import Verdict
from .ranks import pooled_chance_of, pooled_critical
from .rule import POOLED
from .speed import Pace, Steps, pairs_later


class FirstSeed(NamedTuple):
    """The first new seed of a setting, and what it is compared with."""

    pace: Pace
    steps: Steps


def judge_pool(settings: Sequence[FirstSeed]) -> Verdict | None:
    """``slower`` where the first new seeds together are later than an unchanged architecture's; None for no case.

    That takes no further trial. Seeds are derived for each setting by itself, so the settings are independent, and the
    null distribution of the sum is exact; its level is `POOLED`.
    """
    recorded = [len(one.pace.recorded) for one in settings]
    limit = pooled_critical(POOLED, recorded)
    if len(settings) < 2 or limit is None:
        return None
    found = sum(pairs_later(one.steps, one.pace.recorded) for one in settings)
    beside = f"{found} of {sum(recorded)} recorded ones in {len(settings)} settings"
    if found < limit:
        return Verdict("pass", f"the first new seeds are later than {beside}; {limit} would be too many")
    chance = f"an unchanged architecture does this in 1 of {int(1 / pooled_chance_of(limit, recorded)):,} runs at most"
    return Verdict("slower", f"learns later over all settings: the first new seeds are later than {beside}; {chance}")
