"""Steps to the mark, and the sequential rank test on them, against every order there is."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_mad.gate.ranks import chance_of
from pytest_mad.gate.speed import Bounds, Pace, draw_pace, pairs_later, ratio, steps_to_mark

STEPS = st.one_of(st.none(), st.integers(1, 9))


def verdict(pace: Pace, new: list[int | None]) -> str:
    """What the rule says at the end, asking for one seed after the other."""
    for count in range(1, len(new) + 1):
        state = pace.state(new[:count])
        if state != "open":
            return state
    raise AssertionError("still open with every seed")


# -- steps to the mark ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "steps"),
    [
        ([(10, 0.2), (20, 0.95), (30, 0.96)], 20),
        ([(10, 0.2), (20, 0.95), (30, 0.5), (40, 0.95), (50, 0.93)], 40),  # it was an accident
        ([(10, 0.2), (20, 0.95), (30, 0.87), (40, 0.95)], 20),  # two standard errors of 64 sequences are 0.075
        ([(10, 0.2), (20, 0.95)], 20),  # the last evaluation
        ([(10, 0.2), (20, 0.899)], None),
        ([], None),
    ],
)
def test_the_mark_is_reached_where_the_next_evaluation_does_not_take_it_back(curve, steps):
    assert steps_to_mark(curve, 0.9, 64) == steps


def test_a_mark_at_the_top_allows_no_step_back():
    assert steps_to_mark([(10, 1.0), (20, 0.999), (30, 1.0)], 1.0, 64) == 30


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 1), st.integers(1, 512))
def test_the_step_is_that_of_an_evaluation_at_the_mark(accuracies, needed, sequences):
    curve = [(10 * i, accuracy) for i, accuracy in enumerate(accuracies, 1)]
    found = steps_to_mark(curve, needed, sequences)
    if found is not None:
        assert dict(curve)[found] >= needed
    else:
        assert not accuracies or accuracies[-1] < needed


# -- the test ---------------------------------------------------------------------------------------------------------


def test_unsolved_seeds_are_last_and_tie_with_each_other():
    recorded = [100, 200, None]
    assert [pairs_later(new, recorded) for new in (100, 150, 200, 300, None)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(("recorded", "seeds", "level"), [(4, 3, 0.1), (5, 2, 0.2), (3, 4, 0.05), (6, 3, 0.02)])
def test_an_unchanged_architecture_is_called_slower_no_more_often_than_said(recorded, seeds, level):
    """Over every deal of seeds without ties, in every order of the new ones."""
    steps = list(range(1, recorded + seeds + 1))
    deals = itertools.permutations(steps, seeds)
    flagged = total = 0
    for new in deals:
        pace = draw_pace([s for s in steps if s not in new], 0.9, most_seeds=seeds, level=level)
        assert pace is not None
        flagged += verdict(pace, list(new)) == "slower"
        total += 1
    assert flagged / total <= pace.false_alarms <= level


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=8, max_size=8), st.integers(0, 10**6))
def test_ties_and_unsolved_seeds_only_lower_the_false_alarms(steps, seed):
    flagged = total = 0
    rng = random.Random(seed)
    for _ in range(300):
        rng.shuffle(steps)
        pace = draw_pace(steps[3:], 0.9, most_seeds=3, level=0.1)
        total += 1
        flagged += pace is not None and verdict(pace, steps[:3]) == "slower"
    bound = 0.1
    assert flagged <= total * bound + 4 * math.sqrt(total * bound * (1 - bound))


@given(st.lists(st.integers(1, 50), min_size=16, max_size=16), st.lists(STEPS, min_size=8, max_size=8))
def test_what_is_decided_early_is_what_all_seeds_would_say(recorded, new):
    """But for a first seed that is early, which closes the case whatever the others would have been."""
    pace = draw_pace(recorded, 0.9, most_seeds=8, level=0.001)
    assert pace is not None
    said = verdict(pace, list(new))
    total = sum(pairs_later(steps, recorded) for steps in new)
    if said == "slower":
        assert total >= pace.flag_at or all(pairs_later(steps, recorded) == 16 for steps in new[: pace.early])
    elif new[0] is None or new[0] > pace.closes_at:
        assert total < pace.flag_at


def test_a_first_seed_that_is_no_later_than_most_closes_the_case():
    pace = draw_pace(list(range(100, 260, 10)), 0.9, most_seeds=8, level=0.001)
    assert pace is not None
    assert (pace.closes_at, pace.latest) == (240, 250)
    assert pace.state([240]) == "in time"
    assert pace.state([250]) == "open"
    assert pace.state([]) == "open"


def test_a_dead_model_is_found_by_the_early_boundary():
    pace = draw_pace(list(range(100, 260, 10)), 0.9, most_seeds=8, level=0.001)
    assert pace is not None
    assert pace.early == 4
    assert [pace.state([None] * count) for count in range(1, 5)] == ["open", "open", "open", "slower"]
    assert [pace.would_flag([None] * count) for count in range(4)] == [False, False, False, True]


def test_later_seeds_do_not_count_behind_the_end():
    pace = draw_pace(list(range(100, 260, 10)), 0.9, most_seeds=8, level=0.001)
    assert pace is not None
    assert verdict(pace, [100] + [None] * 7) == "in time"


def test_too_many_unsolved_recorded_seeds_allow_no_verdict():
    assert draw_pace([100] * 12 + [None] * 4, 0.9, most_seeds=8, level=0.1) is not None
    assert draw_pace([100] * 11 + [None] * 5, 0.9, most_seeds=8, level=0.1) is None
    assert draw_pace([], 0.9, most_seeds=8, level=0.1) is None


def test_unsolved_recorded_seeds_leave_no_verdict_where_ties_keep_u_below_its_limit():
    assert draw_pace([100] * 15 + [None], 0.9, most_seeds=8, level=0.001) is not None
    assert draw_pace([100] * 14 + [None] * 2, 0.9, most_seeds=8, level=0.001) is None


def test_seeds_that_are_unsolved_like_a_recorded_one_do_not_cross_the_early_boundary():
    """One of 17 seeds being unsolved, four new ones that are tie with it, and are no rare order."""
    pace = draw_pace([100] * 15 + [None], 0.9, most_seeds=8, level=0.001)
    assert pace is not None
    assert pace.state([None] * 4) == "open"
    assert pace.state([None] * 8) == "slower"


@pytest.mark.parametrize(("recorded", "seeds"), [(3, 8), (16, 1), (5, 4)])
def test_too_few_seeds_for_the_level_allow_no_verdict(recorded, seeds):
    assert chance_of(recorded * seeds, seeds, recorded) > 0.0001
    assert draw_pace([100] * recorded, 0.9, most_seeds=seeds, level=0.0001) is None


# -- how much slower --------------------------------------------------------------------------------------------------

RECORDED = list(range(100, 260, 10))


def arrived(steps: float) -> Bounds:
    return Bounds(steps, steps)


def test_the_ratio_is_the_median_quotient_with_its_interval():
    assert ratio([arrived(300)] * 4, [100] * 16) == (3.0, 3.0, 3.0, 3.0)


def test_cut_seeds_leave_the_ratio_open_above():
    found = ratio([Bounds(250, math.inf)] * 4, RECORDED)
    assert math.isinf(found.high_median)
    assert math.isinf(found.high)
    assert found.low_median == statistics.median(250 / step for step in RECORDED)
    assert 1.0 <= found.low <= found.low_median


def test_a_cut_seed_may_have_arrived_right_behind_its_end():
    """So it does not raise the lower limit as one does that is known to have taken far longer."""
    cut = ratio([Bounds(250, math.inf)] * 3 + [arrived(800)], RECORDED)
    late = ratio([arrived(700)] * 3 + [arrived(800)], RECORDED)
    assert cut.low < late.low


def test_of_unsolved_recorded_seeds_nothing_is_known():
    assert ratio([arrived(300)] * 4, [100] * 8 + [None] * 8).low == 0.0


def test_one_seed_has_no_interval():
    assert ratio([arrived(300)], RECORDED)[2:] == (0.0, math.inf)


@pytest.mark.parametrize("slower", [1.0, 1.7, 3.0])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(slower):
    rng = random.Random(f"interval {slower}")
    hits = 0
    for _ in range(400):
        recorded = [max(1, round(1000 * rng.lognormvariate(0, 0.3))) for _ in range(16)]
        new = [arrived(max(1, round(1000 * slower * rng.lognormvariate(0, 0.3)))) for _ in range(4)]
        found = ratio(new, recorded)
        hits += found.low <= slower <= found.high
    assert hits / 400 >= 0.93
