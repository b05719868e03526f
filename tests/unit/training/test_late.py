"""Trials that are cut because they are late: where, what is left of them, and that they go on as if never cut."""

from __future__ import annotations

import pytest

from pytest_mad.training.trial import LateError
from tests.unit.tiny import make_setting, train


def behind(last):
    return lambda curve: curve[-1][0] > last


def test_a_late_trial_ends_at_the_first_evaluation_that_says_so():
    with pytest.raises(LateError) as found:
        train(is_late=behind(15))
    assert str(found.value) == "cut at step 20, because it is late"
    assert (found.value.steps, [step for step, _ in found.value.curve]) == (20, [10, 20])


def test_its_curve_is_that_of_the_whole_trial():
    whole, _ = train()
    with pytest.raises(LateError) as found:
        train(is_late=behind(15))
    assert found.value.curve == whole.curve[:2]


def test_a_trial_that_ends_there_anyway_has_its_score():
    """At its last evaluation the question is not asked."""
    trial, _ = train(is_late=behind(20))
    assert (trial.steps, trial.stopped) == (25, "budget")


class Kept:
    """Keeps the last training in memory."""

    def __init__(self):
        self.step, self.curve, self.saved = 0, [], []

    def resume(self, training):
        training.curve.extend(self.curve)

    def save(self, training, *, is_last=False):
        self.saved.append((training.step, is_last))
        self.curve = list(training.curve)


def test_what_is_cut_is_kept_for_a_run_that_wants_the_rest():
    kept = Kept()
    with pytest.raises(LateError):
        train(is_late=behind(15), checkpoints=kept)
    assert kept.saved == [(10, False), (20, True)]


def test_what_was_cut_before_is_not_trained_on():
    kept = Kept()
    kept.curve = [(10, 0.1), (20, 0.2)]
    with pytest.raises(LateError) as found:
        train(is_late=behind(15), checkpoints=kept)
    assert found.value.curve == ((10, 0.1), (20, 0.2))
    assert kept.saved == []


def test_a_setting_without_steps_to_spare_is_not_cut():
    trial, _ = train(setting=make_setting(steps=10), is_late=behind(0))
    assert trial.steps == 10
