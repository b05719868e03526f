"""A comparison with a baseline, seed by seed: what to train next, and the verdict of scores and steps together.

Steps are compared first, for a seed that is later than every recorded one says all that it can about speed long before
its budget ends, and is cut there. Only where that would close the case as ``slower`` the trial goes on to its end: its
score tells whether the architecture learns later, or has lost the capability.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pytest_mad.common.text import round_down

from .judge import Floor, Verdict, judge_baseline
from .speed import Bounds, Pace, State, Steps, ratio


class Seed(NamedTuple):
    """What a new seed has shown."""

    #: to the mark; None where it was not reached, as far as the trial went
    steps: Steps
    #: how far that was
    trained: int
    #: normalised; None where there is none: the trial was cut, or diverged
    score: float | None
    was_cut: bool = False

    @property
    def bounds(self) -> Bounds:
        """Between which steps it reaches the mark."""
        return Bounds(self.trained, math.inf) if self.steps is None else Bounds(self.steps, self.steps)


class Ask(NamedTuple):
    """The next trial: which of the new seeds, counted from 0, and behind which step it is cut unless it has learned."""

    seed: int
    cut_at: int | None


def ask_next(seen: Sequence[Seed], floor: Floor, pace: Pace | None) -> Ask | None:
    """What to train next; None where the case is closed. A seed that is asked for again was cut, and is now finished.

    Scores regress where all of the first n seeds are below the floor. One that was cut may be above it: it lowers no
    other's score, so one good score closes the case without it, but n bad ones do not.
    """
    speed = speed_of(seen, pace)
    if speed == "open":
        assert pace is not None
        steps = [seed.steps for seed in seen]
        return Ask(len(seen), None if pace.would_flag(steps) else pace.latest)
    if speed == "slower" or any(seed.score is not None and seed.score >= floor.floor for seed in seen):
        return None
    first = seen[: floor.most_seeds]
    cut = [number for number, seed in enumerate(first) if seed.was_cut]
    if cut:
        return Ask(cut[0], None)
    return Ask(len(seen), None) if len(first) < floor.most_seeds else None


def speed_of(seen: Sequence[Seed], pace: Pace | None) -> State:
    """What the steps say: the first seeds that decide; those that were trained for their scores add nothing."""
    if pace is None:
        return "in time"
    states = (pace.state([seed.steps for seed in seen[:count]]) for count in range(1, len(seen) + 1))
    return next((state for state in states if state != "open"), "open")


def judge_case(seen: Sequence[Seed], floor: Floor, pace: Pace | None) -> Verdict:
    """The verdict on what is there; ``inconclusive`` where :func:`ask_next` would ask for more."""
    speed = speed_of(seen, pace)
    if speed == "slower":
        assert pace is not None
        return _of_late(seen, floor, pace)
    is_good = any(seed.score is not None and seed.score >= floor.floor for seed in seen)
    counted = seen if is_good else seen[: floor.most_seeds]  # n bad scores of chosen seeds are no rare event
    scores = [seed.score for seed in counted if seed.score is not None]
    lost = sum(seed.score is None and not seed.was_cut for seed in counted)
    if speed == "open":
        late = f"{len(seen)} new seeds have not decided whether it learns slower; the time ran out"
        return Verdict("inconclusive", f"normalised score {round_down(max(scores)):.3f}; {late}" if scores else late)
    if not scores:
        return Verdict("inconclusive", "every seed that had time was cut because it was late; the time ran out")
    return judge_baseline(scores, floor, lost)


def _of_late(seen: Sequence[Seed], floor: Floor, pace: Pace) -> Verdict:
    """``slower`` where one seed arrives at the floor; else ``regress``, and the last was trained to its end to tell."""
    best = max((seed.score for seed in seen if seed.score is not None), default=None)
    slow = f"{times_text(seen, pace)} than {floor.whose()}"
    steps = ", ".join(_steps_text(seed) for seed in seen)
    recorded = f"{pace.solved[0]:,} to {pace.latest:,} in {len(pace.recorded)} recorded seeds"
    chance = f"an unchanged architecture would do this in 1 of {math.floor(1 / pace.false_alarms):,} runs at most"
    evidence = f"steps to {pace.mark:g}: {steps}; {recorded}; {chance}"
    if best is None:
        return Verdict("regress", f"training diverged; {evidence}")
    if best >= floor.floor:
        return Verdict("slower", f"{slow}, and arrives at {round_down(best):.3f}; {evidence}")
    return Verdict("regress", f"normalised score {round_down(best):.3f} is below {floor.explain()}; {evidence}")


def _steps_text(seed: Seed) -> str:
    return f"above {seed.trained:,}" if seed.steps is None else f"{seed.steps:,}"


def times_text(seen: Sequence[Seed], pace: Pace) -> str:
    """``learns 3.1 (2.4 to 4.0) times slower``, or as much of that as is known.

    Where too many seeds were cut for a median of all, the number is that of the last, which was trained to its end; but
    not where the others show that it was one of the quicker ones.
    """
    found = ratio([seed.bounds for seed in seen], pace.recorded)
    times, least = found.low_median, max(found.low, found.low_median)
    if found.low_median != found.high_median:
        times = 0.0 if seen[-1].steps is None else seen[-1].steps / statistics.median(pace.solved)
    if times < least or math.isinf(times):
        return f"learns at least {least:.1f} times slower" if _is_more(least) else "learns later"
    if not _is_more(times):
        return "learns later"
    sure = f"{found.low:.1f} to {found.high:.1f}" if math.isfinite(found.high) else f"at least {found.low:.1f}"
    return f"learns {times:.1f} ({sure}) times slower" if found.low > 0 else f"learns {times:.1f} times slower"


def _is_more(times: float) -> bool:
    """Than once, also when it is rounded."""
    return 1.05 <= times < math.inf
