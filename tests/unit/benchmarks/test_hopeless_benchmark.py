"""The rules of ``python -m benchmarks.speed.hopeless`` on curves made by hand, and the measurement that is kept."""

from __future__ import annotations

import json

import pytest

from benchmarks.record import RESULTS
from benchmarks.speed.hopeless import RULES, Course, Rule, course, judge, late_passes, recorded
from pytest_mad import settings

RECALL = settings("smoke")["in-context-recall[baseline]"]
BUDGET = RECALL.recipe.steps


def trial(*points, stopped="budget", normalized=0.0):
    """A recorded trial from (share of the budget, normalised validation accuracy)."""
    span = RECALL.oracle - RECALL.trivial
    curve = [[round(share * BUDGET), RECALL.trivial + accuracy * span] for share, accuracy in points]
    record = {"architecture": "a", "trials": [{"stopped": stopped, "curve": curve}], "normalized": normalized}
    return course(record, RECALL)


#: A long plateau, and then a sudden solution.
SUDDEN = trial((0.1, 0.02), (0.2, 0.0), (0.3, 0.01), (0.4, 0.05), (0.5, 0.98), stopped="solved", normalized=0.98)
#: Slow progress that never gets there.
SLOW = trial((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.3), (0.6, 0.3), (0.8, 0.4), (1.0, 0.5), normalized=0.5)


@pytest.mark.parametrize(
    ("rule", "watched", "share"),
    [
        (Rule("level", 0.2, 0.1), SUDDEN, 0.2),
        (Rule("level", 0.4, 0.06), SUDDEN, 0.4),
        (Rule("level", 0.4, 0.04), SUDDEN, None),
        (Rule("level", 0.5, 0.9), SUDDEN, None),  # solved by then
        (Rule("level", 0.3, 0.3), SLOW, 0.3),
        (Rule("level", 0.3, 0.25), SLOW, None),
        (Rule("stalled", 0.2, 0.5), SUDDEN, 0.3),
        (Rule("stalled", 0.3, 0.5), SUDDEN, None),
        (Rule("stalled", 0.3, 0.5), SLOW, 0.6),
        (Rule("stalled", 0.3, 0.2), SLOW, None),
        (Rule("slow", 0.3, 1), SUDDEN, 0.3),  # 0.02 + 0.02 * 7 / 3
        (Rule("slow", 0.1, 1), SLOW, 0.4),  # 0.3 + 0.3 * 0.6 / 0.4 is 0.75
        (Rule("slow", 0.1, 2), SLOW, 0.6),  # 0.3 + 2 * 0.3 * 0.4 / 0.6 is 0.7; before it was 1.2
        (Rule("slow", 0.9, 8), SLOW, None),  # the last evaluation ends the trial anyway
    ],
)
def test_a_rule_ends_a_trial_at_the_first_evaluation_that_is_hopeless(rule, watched, share):
    assert rule.stops(watched) == (None if share is None else round(share * BUDGET))


def test_what_was_reached_is_a_false_stop_and_what_was_not_is_a_saving():
    """A threshold that is reached without an end as solved counts too; what ended before is no evidence."""
    late = trial((0.5, 0.0), (1.0, 0.95), normalized=0.95)
    early = trial((0.1, 0.99), stopped="solved", normalized=0.99)
    assert [one.reached for one in (SUDDEN, SLOW, late, early)] == [True, False, True, True]
    found = judge(Rule("level", 0.4, 0.3), [SUDDEN, SLOW, late, early])
    assert (found["false_stops"]["count"], found["false_stops"]["of"]) == (2, 3)
    assert found["false_stops_of_those_under_way"]["of"] == 2
    assert found["stopped_wrongly"] == ["a, in-context-recall"]
    assert found["steps_saved"] == pytest.approx(0.6, abs=1e-3)


def test_a_late_pass_without_a_curve_is_told():
    passes = {"verdict": "pass", "steps": BUDGET * 0.75}
    board = {
        name: {"tasks": {RECALL.task_name: passes | changed}}
        for name, changed in (("a", {}), ("b", {}), ("c", {"verdict": "fail"}))
    }
    assert late_passes([SUDDEN], board) == {"b, in-context-recall": 0.75}


def test_the_measurement_that_is_kept_is_that_of_the_recorded_curves():
    """Recorded curves that are added or replaced take a new run of the benchmark."""
    kept = json.loads((RESULTS / "hopeless.json").read_text())
    courses, outdated = recorded(RESULTS.glob("calibrate-smoke-*.json"))
    assert outdated == kept["outdated"]
    assert sum(sum(counts.values()) for counts in kept["trials"].values()) == len(courses)
    assert all(isinstance(one, Course) and one.evaluations for one in courses)
    assert len(kept["rules"]) == len(RULES)
    for rule, found in list(zip(RULES, kept["rules"], strict=True))[::7]:
        assert judge(rule, courses) == found, rule
