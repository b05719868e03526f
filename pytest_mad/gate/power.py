"""How large a slowdown a baseline would find, from the spread of its recorded seeds."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

from .pool import FirstSeed, judge_pool
from .speed import Pace, Steps

RUNS = 2000


def spread(steps: Sequence[Steps]) -> float:
    """Standard deviation of the logarithms of the steps of the seeds that reached the mark."""
    logs = [math.log(one) for one in steps if one]
    return statistics.stdev(logs) if len(logs) > 1 else 0.0


def power(pace: Pace, times: float, runs: int = RUNS) -> float:
    """In what share of runs an architecture that takes ``times`` as many steps is called slower in this setting.

    Its steps are drawn from the log-normal distribution with the median and the spread of the recorded ones.
    """
    rng = random.Random(f"power {pace} {times}")  # noqa: S311 -- no secret
    draw = _sampler(pace, times, rng)
    return sum(_is_flagged(pace, draw) for _ in range(runs)) / runs


def pooled_power(paces: Sequence[Pace], times: float, runs: int = RUNS) -> float:
    """The same of the pooled test, for an architecture that takes so many times the steps in every setting."""
    rng = random.Random(f"pooled power {paces} {times}")  # noqa: S311 -- no secret
    flagged, draws = 0, [_sampler(pace, times, rng) for pace in paces]
    for _ in range(runs):
        found = judge_pool([FirstSeed(pace, draw()) for pace, draw in zip(paces, draws, strict=True)])
        flagged += found is not None and found.outcome == "slower"
    return flagged / runs


def _is_flagged(pace: Pace, draw: Callable[[], int]) -> bool:
    new: list[Steps] = []
    while (state := pace.state(new)) == "open":
        new.append(draw())
    return state == "slower"


def _sampler(pace: Pace, times: float, rng: random.Random) -> Callable[[], int]:
    """What draws the steps of a new seed."""
    median, sigma = times * statistics.median(pace.solved), spread(pace.recorded)
    return lambda: max(1, round(median * rng.lognormvariate(0.0, sigma)))
