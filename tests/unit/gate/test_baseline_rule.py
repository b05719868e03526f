"""The rule against a baseline: one good seed closes the case, all must be bad; its bound is exact."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_mad.gate import draw_floor, false_alarm_bound, gate_for, judge_baseline, judge_recording, judge_threshold
from pytest_mad.gate.rule import Gate, speed_level
from tests.oracles.parameters import steady

score = st.floats(-1, 1)
scores = st.lists(score, min_size=1, max_size=6)


def line(recorded=(0.9,), margin=0.0, most_seeds=4, solved_at=2.0, source="b.json", architecture="mine"):
    return draw_floor(source, architecture, recorded, margin=margin, most_seeds=most_seeds, solved_at=solved_at)


@steady
@given(scores, scores, st.floats(0, 0.5), st.integers(1, 6))
def test_one_seed_at_the_line_passes_and_all_below_it_regress(recorded, new, margin, most_seeds):
    """Fewer than all leave the case open."""
    new = new[:most_seeds]
    verdict = judge_baseline(new, line(recorded, margin, most_seeds))
    if max(new) >= min(recorded) - margin:
        assert verdict.outcome == "pass"
    else:
        assert verdict.outcome == ("regress" if len(new) == most_seeds else "inconclusive")


@pytest.mark.parametrize(("recorded", "new"), [(1, 1), (2, 1), (3, 2), (2, 3), (4, 3)])
def test_an_unchanged_architecture_regresses_in_exactly_one_of_all_orders(recorded, new):
    """Every way to deal the same scores into recorded and new ones, counted: the bound is reached, not only kept."""
    found = [0.1 * i for i in range(recorded + new)]
    deals = [
        judge_baseline([s for s in found if s not in old], line(old, most_seeds=new)).outcome == "regress"
        for old in itertools.combinations(found, recorded)
    ]
    assert Fraction(sum(deals), len(deals)) == Fraction(1, math.comb(recorded + new, new))
    assert false_alarm_bound(recorded, new) == pytest.approx(sum(deals) / len(deals))


@steady
@given(st.lists(score, min_size=3, max_size=6), st.integers(1, 2), st.floats(0, 0.3), st.floats(0, 1))
def test_ties_a_margin_and_the_end_of_training_only_lower_the_false_alarms(found, new, margin, solved_at):
    """All three lower the line or lift a new score to it."""
    places = range(len(found))
    deals = [
        judge_baseline(
            [found[i] for i in places if i not in old],
            line([found[i] for i in old], margin, most_seeds=new, solved_at=solved_at),
        ).outcome
        == "regress"
        for old in itertools.combinations(places, len(found) - new)
    ]
    assert sum(deals) / len(deals) <= false_alarm_bound(len(found) - new, new) + 1e-12


def test_a_score_counts_no_more_than_where_training_stops():
    """A model that learns in one leap overshoots; one that creeps up to the same end is no worse."""
    asked = line([1.0, 0.999], margin=0.02, solved_at=0.97)
    assert (asked.lowest, asked.floor) == (0.999, pytest.approx(0.95))
    assert judge_baseline([0.951], asked).outcome == "pass"
    assert line([0.5, 0.8], margin=0.02, solved_at=0.97).floor == pytest.approx(0.48)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ([0.95], "normalised score 0.950 reaches 0.84, the floor of baseline mine in b.json (10 seeds from 0.870)"),
        ([0.1, 0.95], "normalised score 0.950 (seed 2 of at most 4) reaches 0.84, the floor of"),
        ([0.1, 0.2], "normalised score 0.200, the highest of 2 new seeds, is below 0.84, the floor of"),
        ([0.1, 0.2], "; the time ran out before 4 seeds had decided"),
        ([0.1, 0.2, 0.3, 0.8399], "normalised score 0.839, the highest of 4 new seeds, is below 0.84, the floor of"),
        ([0.1, 0.2, 0.3, 0.8399], "; an unchanged architecture would do this in 1 of 1,001 runs at most"),
    ],
)
def test_the_reason_has_the_numbers_in_it(new, said):
    """A score just below the line does not read as if it reached it."""
    asked = line([0.87] + [0.99] * 9, margin=0.03)
    detail = judge_baseline(new, asked).detail
    assert detail.startswith(said) or detail.endswith(said)


def test_a_baseline_of_its_own_name_is_named_once():
    """As the shipped ones are."""
    asked = line([0.9], source="transformer", architecture="transformer", most_seeds=1)
    assert "below 0.9, the floor of baseline transformer (1 seeds" in judge_baseline([0.1], asked).detail


def test_a_recording_asks_for_nothing():
    assert judge_recording([0.5, -0.25, 0.75]) == ("pass", "recorded 3 seeds, lowest -0.250, highest 0.750")
    assert judge_recording([0.5]).detail == "recorded 1 seed: 0.500"


@pytest.mark.parametrize(
    ("normalised", "threshold", "outcome"),
    [([0.95, 0.93], 0.9, "inconclusive"), ([0.95, 0.5], 0.9, "fail"), ([0.1], None, "inconclusive")],
)
def test_a_threshold_whose_seeds_ran_out_of_time_is_open_unless_one_has_failed(normalised, threshold, outcome):
    verdict = judge_threshold(normalised, threshold, seeds=3)
    assert verdict.outcome == outcome
    assert outcome == "fail" or re_numbers(verdict.detail, len(normalised))


def re_numbers(detail, count):
    return detail.startswith(f"{count} of 3 seeds reach ") and detail.endswith("and the time ran out")


@steady
@given(st.integers(1, 5000))
def test_any_number_of_settings_has_a_gate_under_one_percent(num_settings):
    """Its scores take a fifth of that, counted in whole numbers, and leave steps to the mark their share."""
    gate = gate_for(num_settings)
    assert 500 * num_settings <= math.comb(gate.baseline_seeds + gate.seeds, gate.seeds)
    left = speed_level(num_settings, gate.baseline_seeds, gate.seeds)
    assert num_settings * left == pytest.approx(0.01 - 0.002 - gate.false_alarms(num_settings))


def test_the_shipped_presets_and_the_default():
    assert (gate_for(6).baseline_seeds, gate_for(6).seeds) == (16, 4)
    assert (gate_for(20).baseline_seeds, gate_for(20).seeds) == (16, 5)
    assert (gate_for(66).baseline_seeds, gate_for(66).seeds) == (16, 6)


def test_scores_that_take_the_whole_level_leave_none_for_the_steps():
    assert speed_level(9, 10, 4) == 0.0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"seeds": 0}, "seeds is 0, but must be a whole number from 1 to 10,000"),
        ({"seeds": True}, "seeds is True"),
        ({"baseline_seeds": 2.0}, "baseline_seeds is 2.0"),
        ({"margin": -0.1}, "margin is -0.1, but must be a number from 0 to below 1"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"margin": True}, "margin is True"),
        ({"sedes": 4}, "unknown gate key 'sedes'; did you mean 'seeds'?"),
    ],
)
def test_a_wrong_gate_is_one_line(table, said):
    with pytest.raises(ValueError, match=r"^\w") as found:
        Gate.from_json(table, 6)
    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)


@steady
@given(scores, scores, st.integers(1, 6))
def test_judging_is_pure(recorded, new, most_seeds):
    """Neither order matters."""
    assume(len(new) <= most_seeds)
    before = list(recorded), list(new)
    asked = line(recorded, most_seeds=most_seeds)
    assert judge_baseline(new, asked) == judge_baseline(new[::-1], line(recorded[::-1], most_seeds=most_seeds))
    assert (recorded, new) == before


@steady
@given(score, st.floats(0, 0.05))
def test_the_numbers_never_contradict_the_verdict(recorded, margin):
    """As they are printed: a score just above a line does not read as if it were below."""
    asked = line([recorded], margin, most_seeds=1)
    for new in (asked.floor, asked.floor + 1e-7, asked.floor + 4e-4, asked.floor - 4e-4, asked.floor - 1e-5):
        outcome, detail = judge_baseline([new], asked)
        needed = float(detail.partition("reaches " if outcome == "pass" else "below ")[2].partition(",")[0])
        shown = float(detail.partition("score ")[2].split()[0])
        assert (shown >= needed) == (outcome == "pass"), detail


def test_a_seed_that_diverges_counts_as_one_below_the_line():
    """The architecture may have done so before; and it cannot pass by it."""
    asked = line([0.9] * 10, most_seeds=4)
    assert judge_baseline([0.95], asked, lost=3).outcome == "pass"
    assert judge_baseline([0.5], asked, lost=3).outcome == "regress"
    assert (
        "the highest of 4 new seeds, of which 3 diverged, is below 0.9, the floor of"
        in judge_baseline([0.5], asked, lost=3).detail
    )
    assert judge_baseline([0.5], asked, lost=2).outcome == "inconclusive"


@pytest.mark.parametrize("stated", [{"seeds": 1}, {"seeds": 2}, {"baseline_seeds": 3}, {"margin": 0.1}, {"seeds": 9}])
@pytest.mark.parametrize("num_settings", [1, 6, 66])
def test_what_a_gate_leaves_open_makes_up_for_what_it_states(stated, num_settings):
    gate = Gate.from_json(stated, num_settings)
    assert 100 * num_settings <= math.comb(gate.baseline_seeds + gate.seeds, gate.seeds)
    assert {name: getattr(gate, name) for name in stated} == stated


def test_a_gate_that_states_both_is_taken_at_its_word():
    """The header says what that costs."""
    assert Gate.from_json({"seeds": 1, "baseline_seeds": 1}, 66).false_alarms(66) == 33
