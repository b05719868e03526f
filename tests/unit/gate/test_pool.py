"""The pooled test of speed: one sum over all settings."""

from __future__ import annotations

import random

from pytest_mad.gate.pool import FirstSeed, judge_pool
from pytest_mad.gate.rule import POOLED
from pytest_mad.gate.speed import Pace, draw_pace

RECORDED = list(range(100, 260, 10))


def pace(recorded: list[int]) -> Pace:
    found = draw_pace(recorded, 0.9, most_seeds=8, level=0.001)
    assert found is not None
    return found


def test_what_is_late_everywhere_by_a_little_is_slower():
    """No setting alone would say so: each first seed closes its own case."""
    found = judge_pool([FirstSeed(pace(RECORDED), 241)] * 6)
    assert found is not None
    assert found.outcome == "slower"
    assert found.detail == (
        "learns later over all settings: the first new seeds are later than 90 of 96 recorded ones in 6 settings; "
        "an unchanged architecture does this in 1 of 622 runs at most"
    )


def test_late_in_one_setting_of_six_is_no_matter_of_the_pool():
    found = judge_pool([FirstSeed(pace(RECORDED), None), *[FirstSeed(pace(RECORDED), 170)] * 5])
    assert found is not None
    assert found.outcome == "pass"


def test_one_setting_or_none_is_no_pool():
    assert judge_pool([]) is None
    assert judge_pool([FirstSeed(pace(RECORDED), None)]) is None


def test_an_unchanged_architecture_is_flagged_as_rarely_as_the_level_says():
    rng = random.Random("pool")
    runs, flagged = 4000, 0
    for _ in range(runs):
        settings = []
        for _ in range(6):
            *old, new = (rng.randrange(10**9) for _ in range(17))
            settings.append(FirstSeed(pace(old), new))
        found = judge_pool(settings)
        assert found is not None
        flagged += found.outcome == "slower"
    assert flagged <= runs * POOLED + 4 * (runs * POOLED) ** 0.5
