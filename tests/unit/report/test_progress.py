"""What the live line says: how long it still takes, and what of it fits the terminal."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pytest_mad.report.progress import Course, Pace, Work, count_text, duration, finished_line, live_text, time_left
from pytest_mad.results.result import ContractResult
from tests.oracles.parameters import steady


def work(architecture="a", cost=1.0, most_trials=1, may_end_early=True):
    return Work(architecture, "memorization", cost, 1, most_trials, may_end_early)


def course(*evaluations, total=100, **what):
    """A setting by the (step, time) of its evaluations."""
    found = Course(work(**what))
    for step, now in evaluations:
        found.evaluated(step, total, now)
    return found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0:01"),
        (42, "0:42"),
        (59.5, "1:00"),
        (730, "12:10"),
        (3599.1, "1:00:00"),
        (3909, "1:05:09"),
        (1e6, "277:46:40"),
    ],
)
def test_durations_are_read_like_a_clock_and_rounded_up(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "total", "text"), [(1, 1, ""), (3, 6, "[3/6]"), (3, 16, "[ 3/16]"), (12, 396, "[ 12/396]")]
)
def test_numbers_of_one_run_are_equally_wide(number, total, text):
    assert count_text(number, total) == text


def test_nothing_is_known_before_two_evaluations():
    """The first one's time has in it what comes before training."""
    assert time_left([course()], []) == "" and time_left([course((10, 5.0))], [work()]) == ""


def test_what_is_left_of_a_trial_goes_by_its_own_speed():
    """Two seconds for ten steps: 80 steps are left. After the last evaluation nothing is."""
    assert time_left([course((10, 5.0), (20, 7.0))], []) == "at most 0:16 left"
    assert time_left([course((50, 5.0), (100, 7.0))], []) == ""


def test_a_bound_says_so_and_a_time_that_is_certain_does_not():
    """It is one as soon as any setting that is left may end early."""
    certain = course((10, 5.0), (20, 7.0), may_end_early=False)
    assert time_left([certain], []) == "0:16 left"
    assert time_left([certain], [work(may_end_early=False)]) == "0:36 left"
    assert time_left([certain], [work()]) == "at most 0:36 left"


def test_trials_that_may_follow_count():
    """Three points of 100 steps at 0.2 s; the second of them is at step 20 when the first had ended at step 30."""
    one = course((10, 5.0), (20, 7.0), (30, 9.0), (10, 60.0), (20, 62.0), most_trials=3)
    assert (one.trial, one.steps, one.seconds) == (2, 30, 6.0)
    assert time_left([one], []) == "at most 0:36 left"


def test_a_trial_that_ends_at_its_first_evaluation_is_one():
    """Then the next one's first evaluation is at the same step."""
    assert course((10, 5.0), (10, 7.0), (20, 8.0), most_trials=2).trial == 2


def test_more_trials_than_foreseen_leave_no_negative_time():
    assert course((10, 0.0), (20, 1.0), (10, 2.0), (20, 3.0)).left() == 8


def test_what_has_not_begun_is_known_by_its_cost():
    """One of cost 2 would take 20 s in full, although it was solved at step 20; so one of cost 5 takes 50 s."""
    solved = course((10, 5.0), (20, 7.0), cost=2)
    assert time_left([solved, course((50, 60.0), (60, 61.0), cost=1)], [work(cost=5)]) == "at most 0:54 left"
    running = course((10, 60.0), cost=1)  # its own speed is not known yet
    assert time_left([solved, running], []) == "at most 0:10 left"


def test_the_speed_of_another_architecture_is_not_known_before_it_trains():
    """Until then the time is this architecture's. Then all of it is left, at the speed of each."""
    first = course((10, 5.0), (20, 7.0))
    assert time_left([first], [work(cost=2), work("b")]) == "at most 0:56 for a"
    second = course((10, 30.0), (20, 40.0), architecture="b")
    assert time_left([first, second], [work(cost=2), work("b")]) == "at most 3:40 left"


def test_settings_without_a_cost_tell_nothing_about_others():
    assert time_left([course((10, 5.0), (20, 7.0), cost=0)], [work(cost=0)]) == ""


FULL = "[ 3/16] fuzzy-in-context-recall[vocab_size=128]  step  850/3450  validation accuracy 0.953  at most 12:10 left"
FORMS = [
    FULL,
    FULL.replace("validation ", ""),
    FULL.replace("validation ", "").replace("step ", ""),
    "[ 3/16] fuzzy-in-c..b_size=128]   850/3450  accuracy 0.953  at most 12:10 left",
    "[ 3/16] fuzzy..=128]   850/3450  accuracy 0.953  at most 12:10 left",
    "[ 3/16]   850/3450  accuracy 0.953  at most 12:10 left",
    "850/3450  accuracy 0.953  at most 12:10 left",
    "850/3450  accuracy 0.953",
    "850/3450",
    "",
]


def text_of(width, **changes):
    parts = {
        "place": "[ 3/16]",
        "name": "fuzzy-in-context-recall[vocab_size=128]",
        "seed": "",
        "left": "at most 12:10 left",
    }
    return live_text(**(parts | {"step": 850, "total": 3450, "accuracy": 0.9531} | changes), width=width)


@pytest.mark.parametrize("text", FORMS)
def test_what_is_said_grows_shorter_with_the_terminal(text):
    """Words first, then the middle of the name, then the name, and the step last."""
    assert text_of(len(text)) == text


@steady
@given(width=st.integers(-5, 150), name=st.text("ab", max_size=60), left=st.sampled_from(["", "at most 1:05:09 left"]))
def test_it_fits_any_width(width, name, left):
    text = text_of(width, name=name, left=left)
    assert len(text) <= max(width, 0) and text == text.strip()
    assert (text == "") == (width < len("850/3450"))


def test_the_seed_stands_in_front_of_the_step_for_as_long_as_the_score_and_the_time_fit():
    """Of several seeds."""
    whole = text_of(150, seed="seed  3/10")
    assert whole == FULL.replace("]  step", "]  seed  3/10  step")
    assert text_of(80, seed="seed  3/10").endswith("  seed  3/10   850/3450  accuracy 0.953  at most 12:10 left")
    assert text_of(50, seed="seed  3/10") == "850/3450  accuracy 0.953  at most 12:10 left"


def test_what_is_not_there_leaves_no_gap():
    assert text_of(99, place="", name="", left="") == "step  850/3450  validation accuracy 0.953"
    assert text_of(99, name="", left="") == "[ 3/16]  step  850/3450  validation accuracy 0.953"


def test_a_line_of_a_log_is_due_30_seconds_after_the_last_one():
    """Evaluations come when they come: one that is late does not bring the next one forward."""
    pace = Pace(100.0)
    assert [now for now in (110, 129.9, 130, 140, 175, 190, 204.9, 205) if pace.is_due(now)] == [130, 175, 205]


def test_a_contract_has_no_number():
    result = ContractResult(architecture="a", contract="output", verdict="pass", seconds=0.04)
    assert finished_line(result, "[1/6]") == "mad::a::contract[output]  PASS  0.0 s"
