"""What is trained next in a comparison with a baseline, and what is said at its end."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.gate import Floor, draw_floor
from pytest_mad.gate.case import Ask, Seed, ask_next, judge_case
from pytest_mad.gate.speed import Pace, draw_pace

RECORDED = list(range(100, 260, 10))
BUDGET = 3000
GOOD, BAD = 0.98, 0.5


def floor(seeds: int = 4) -> Floor:
    return draw_floor("base.json", "mine", [0.97] * 16, margin=0.03, most_seeds=seeds, solved_at=0.97)


def pace() -> Pace:
    found = draw_pace(RECORDED, 0.9, most_seeds=8, level=0.001)
    assert found is not None
    return found


def play(model: Callable[[int], tuple[int | None, float]], own_pace: Pace | None) -> tuple[list[Ask], list[Seed]]:
    """A comparison of a model that learns by a step and ends with a score, both by seed."""
    seen: list[Seed] = []
    asked: list[Ask] = []
    while (ask := ask_next(seen, floor(), own_pace)) is not None:
        asked.append(ask)
        steps, score = model(ask.seed)
        if ask.cut_at is not None and (steps is None or steps > ask.cut_at):
            found = Seed(None, ask.cut_at, None, was_cut=True)
        else:
            found = Seed(steps, BUDGET if steps is None else steps, score)
        seen[ask.seed : ask.seed + 1] = [found]
    return asked, seen


def test_a_sound_model_takes_one_seed():
    asked, seen = play(lambda seed: (200, GOOD), pace())
    assert asked == [Ask(0, 250)]
    assert judge_case(seen, floor(), pace()).outcome == "pass"


def test_a_model_that_learns_later_is_cut_three_times_and_then_named():
    asked, seen = play(lambda seed: (1200, GOOD), pace())
    assert asked == [Ask(0, 250), Ask(1, 250), Ask(2, 250), Ask(3, None)]
    verdict = judge_case(seen, floor(), pace())
    assert verdict.outcome == "slower"
    assert verdict.detail == (
        "learns 6.9 (at least 1.1) times slower than baseline mine in base.json, and arrives at 0.980; "
        "steps to 0.9: above 250, above 250, above 250, 1,200; 100 to 250 in 16 recorded seeds; "
        "an unchanged architecture would do this in 1 of 1,196 runs at most"
    )


@pytest.mark.parametrize("steps", [None, 1200])
def test_a_model_that_arrives_below_the_floor_regresses(steps):
    asked, seen = play(lambda seed: (steps, BAD), pace())
    assert [ask.cut_at for ask in asked] == [250, 250, 250, None]
    verdict = judge_case(seen, floor(), pace())
    assert verdict.outcome == "regress"
    assert verdict.detail.startswith("normalised score 0.500 is below 0.94, the floor of baseline mine in base.json")


def test_a_model_that_learns_in_time_and_ends_low_regresses_by_its_scores():
    asked, seen = play(lambda seed: (200, 0.92), pace())
    assert asked == [Ask(0, 250), Ask(1, None), Ask(2, None), Ask(3, None)]
    verdict = judge_case(seen, floor(), pace())
    assert verdict.outcome == "regress"
    assert "the highest of 4 new seeds" in verdict.detail


def test_one_late_seed_is_followed_by_others_that_clear_it():
    asked, seen = play(lambda seed: (1200 if seed == 0 else 150, GOOD), pace())
    assert asked[0] == Ask(0, 250)
    assert 2 <= len(asked) <= 4
    assert judge_case(seen, floor(), pace()).outcome == "pass"


def test_a_cut_seed_is_finished_before_bad_scores_count_as_all():
    """It may be the good one: n bad scores of chosen seeds are no rare event."""
    asked, seen = play(lambda seed: (1200, GOOD) if seed == 0 else (120, 0.92), pace())
    assert Ask(0, None) in asked
    assert judge_case(seen, floor(), pace()).outcome == "pass"
    asked, seen = play(lambda seed: (1200 if seed == 0 else 120, 0.92), pace())
    assert Ask(0, None) in asked
    assert judge_case(seen, floor(), pace()).outcome == "regress"


def test_a_late_model_of_which_one_seed_arrives_is_slower_and_has_lost_nothing():
    """One good score is enough, whichever seed has it."""
    model = [(250, GOOD)] + [(1200, GOOD)] * 6 + [(None, 0.4)]
    _asked, seen = play(lambda seed: model[seed], pace())
    assert seen[-1].score == 0.4
    verdict = judge_case(seen, floor(), pace())
    assert verdict.outcome == "slower"
    assert "arrives at 0.980" in verdict.detail


def test_bad_scores_of_chosen_seeds_are_no_regression_when_the_time_runs_out():
    """Two were cut, and would be finished first."""
    seen = [Seed(None, 260, None, was_cut=True)] * 2 + [Seed(120, 300, 0.92)] * 4
    assert ask_next(seen, floor(), pace()) == Ask(0, None)
    assert judge_case(seen, floor(), pace()).outcome == "inconclusive"


@given(
    st.lists(st.tuples(st.integers(10, 60).map(lambda n: 10 * n), st.sampled_from([GOOD, BAD])), min_size=8, max_size=8)
)
def test_the_number_that_is_told_fits_its_interval(model):
    _, seen = play(lambda seed: model[seed], pace())
    verdict = judge_case(seen, floor(), pace())
    told = re.match(r"learns ([\d.]+) \((?:at least )?([\d.]+)(?: to ([\d.]+))?\) times slower", verdict.detail)
    if told:
        middle, low, high = (math.inf if part is None else float(part) for part in told.groups())
        assert middle > 1
        assert low <= middle <= high


@given(
    st.lists(
        st.tuples(st.integers(10, 60).map(lambda n: 10 * n), st.sampled_from([GOOD, 0.92, BAD])), min_size=8, max_size=8
    )
)
def test_a_case_that_is_cut_short_is_never_called_worse_than_it_is(model):
    """At each point before its end it passes, or is open."""
    seen: list[Seed] = []
    while (ask := ask_next(seen, floor(), pace())) is not None:
        assert not seen or judge_case(seen, floor(), pace()).outcome == "inconclusive"
        steps, score = model[ask.seed]
        is_cut = ask.cut_at is not None and steps > ask.cut_at
        found = Seed(None, ask.cut_at or 0, None, was_cut=True) if is_cut else Seed(steps, steps, score)
        seen[ask.seed : ask.seed + 1] = [found]
    assert judge_case(seen, floor(), pace()).outcome != "inconclusive"


def test_without_recorded_steps_scores_decide_alone():
    asked, seen = play(lambda seed: (None, BAD), None)
    assert asked == [Ask(i, None) for i in range(4)]
    assert judge_case(seen, floor(), None).outcome == "regress"
    asked, seen = play(lambda seed: (None, GOOD), None)
    assert asked == [Ask(0, None)]
    assert judge_case(seen, floor(), None).outcome == "pass"


def test_a_model_that_diverges_regresses():
    seen = [Seed(None, 0, None)] * 4
    assert ask_next(seen, floor(), pace()) is None
    assert judge_case(seen, floor(), pace()).outcome == "regress"


@pytest.mark.parametrize(
    "seen",
    [
        [Seed(None, 250, None, was_cut=True)],
        [Seed(260, 400, GOOD)],
        [Seed(200, 300, 0.92)],
        [Seed(250, 300, 0.92)],
    ],
)
def test_a_case_that_ends_early_is_open(seen):
    assert ask_next(seen, floor(), pace()) is not None
    verdict = judge_case(seen, floor(), pace())
    assert verdict.outcome == "inconclusive"
    assert "the time ran out" in verdict.detail


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(50, BUDGET)), st.floats(0, 1)), min_size=8, max_size=8))
def test_every_case_ends(model):
    """Whatever the seeds do, with at most eight of them, each trained at most twice."""
    asked, seen = play(lambda seed: model[seed], pace())
    assert len(seen) <= 8
    assert len(asked) <= len(seen) + 4
    assert judge_case(seen, floor(), pace()).outcome in ("pass", "slower", "regress")


def test_an_unchanged_architecture_passes_about_as_often_as_the_bound_says():
    """Steps and scores that go together, drawn a thousand times: the bounds of both rules add up to 0.0013."""
    rng = random.Random("unchanged")
    flagged = 0
    for _ in range(1000):
        seeds = [(max(10, round(200 * rng.lognormvariate(0, 0.3))), rng.uniform(0.9, 1)) for _ in range(24)]
        old, new = seeds[:16], seeds[16:]
        own_pace = draw_pace([steps for steps, _ in old], 0.9, most_seeds=8, level=0.001)
        own_floor = draw_floor("b", "a", [score for _, score in old], margin=0.0, most_seeds=4, solved_at=1.0)
        seen: list[Seed] = []
        while (ask := ask_next(seen, own_floor, own_pace)) is not None:
            steps, score = new[ask.seed]
            was_cut = ask.cut_at is not None and steps > ask.cut_at
            found = Seed(None, ask.cut_at or 0, None, was_cut=True) if was_cut else Seed(steps, steps, score)
            seen[ask.seed : ask.seed + 1] = [found]
        flagged += judge_case(seen, own_floor, own_pace).outcome != "pass"
    assert flagged <= 6
