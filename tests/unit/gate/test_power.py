"""What slowdowns a baseline would find."""

from __future__ import annotations

import math
import random

import pytest

from pytest_mad.gate.power import pooled_power, power, spread
from pytest_mad.gate.speed import Pace, draw_pace


def pace(sigma: float, level: float = 0.001) -> Pace:
    """Sixteen recorded seeds at the quantiles of a log-normal distribution, whose spread is then known."""
    rng = random.Random(sigma)
    steps = [round(10_000 * rng.lognormvariate(0, sigma)) for _ in range(16)]
    found = draw_pace(steps, 0.9, most_seeds=8, level=level)
    assert found is not None
    return found


def test_the_spread_is_that_of_logarithms():
    assert spread([100, round(100 * math.e)]) == pytest.approx(1 / math.sqrt(2), rel=0.01)
    assert spread([100, None]) == 0.0


def test_power_grows_with_the_slowdown_and_falls_with_the_spread():
    narrow, wide = pace(0.1), pace(0.5)
    assert power(narrow, 1.0) <= 0.01
    assert power(narrow, 1.5) > 0.95
    assert power(wide, 1.5) < power(wide, 3.0)
    assert power(wide, 2.0) < power(narrow, 2.0)


def test_the_pooled_test_finds_what_is_late_everywhere_by_less():
    paces = [pace(0.4)] * 6
    assert pooled_power(paces, 2.0) > power(paces[0], 2.0)
    assert pooled_power(paces, 1.0) <= 0.02


def test_power_is_the_same_again():
    assert power(pace(0.3), 1.7, runs=200) == power(pace(0.3), 1.7, runs=200)
