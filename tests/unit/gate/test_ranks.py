"""The null distributions of rank statistics, against every order there is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.gate.ranks import chance_of, critical, first_seeds, orders_with, pooled_chance_of, pooled_critical


def by_hand(new: int, recorded: int) -> list[int]:
    """U of every choice of places for the new seeds."""
    everywhere = set(range(new + recorded))
    return [
        sum(other < place for place in places for other in everywhere - set(places))
        for places in itertools.combinations(sorted(everywhere), new)
    ]


@pytest.mark.parametrize(("new", "recorded"), [(1, 1), (1, 5), (2, 3), (3, 4), (4, 4), (5, 3)])
def test_the_distribution_of_u_is_that_of_all_orders(new, recorded):
    us = by_hand(new, recorded)
    assert orders_with(new, recorded) == tuple(us.count(u) for u in range(new * recorded + 1))
    for at_least in range(-1, new * recorded + 2):
        assert chance_of(at_least, new, recorded) == sum(u >= at_least for u in us) / len(us)


def test_all_later_than_all_is_one_order_of_them():
    assert chance_of(4 * 16, 4, 16) == 1 / 4845
    assert chance_of(8 * 8, 8, 8) == 1 / math.comb(16, 8)


@given(st.integers(1, 8), st.integers(1, 20), st.floats(1e-6, 1))
def test_the_critical_value_is_the_smallest_that_is_rare_enough(new, recorded, level):
    found = critical(level, new, recorded)
    if found is None:
        assert chance_of(new * recorded, new, recorded) > level
    else:
        assert chance_of(found, new, recorded) <= level
        assert found == 0 or chance_of(found - 1, new, recorded) > level


@pytest.mark.parametrize("recorded", [[3], [2, 2], [1, 2, 3], [4, 1]])
def test_the_pooled_distribution_is_that_of_independent_settings(recorded):
    sums = [sum(each) for each in itertools.product(*(range(number + 1) for number in recorded))]
    assert first_seeds(tuple(recorded)) == tuple(sums.count(u) for u in range(sum(recorded) + 1))
    for at_least in range(sum(recorded) + 2):
        assert pooled_chance_of(at_least, recorded) == pytest.approx(sum(u >= at_least for u in sums) / len(sums))


def test_a_pool_of_nothing_flags_nothing():
    assert pooled_critical(0.002, []) is None
    assert pooled_critical(0.002, [3]) is None


def test_six_settings_of_sixteen_seeds_have_a_critical_sum():
    found = pooled_critical(0.002, [16] * 6)
    assert found is not None
    assert pooled_chance_of(found, [16] * 6) <= 0.002 < pooled_chance_of(found - 1, [16] * 6)
