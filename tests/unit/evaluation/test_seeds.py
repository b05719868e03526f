"""Seed by seed against a baseline: what is trained, what is cut, and what counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_mad.evaluation.requirement import Requirement
from pytest_mad.evaluation.seeds import OpenCaseError, late_behind, run_seeds, steps_of, steps_of_sweep
from pytest_mad.evaluation.setting import steps_by_seed
from pytest_mad.evaluation.sweep import Sweep, check_late
from pytest_mad.gate import draw_floor
from pytest_mad.gate.speed import draw_pace
from pytest_mad.presets.recipe import Point
from pytest_mad.training.metrics import Accuracies
from pytest_mad.training.trial import LateError, OutOfTimeError, Trial, TrialError, never
from tests.unit.tiny import POINT, make_setting

SETTING = make_setting(points=(POINT, Point(lr=0.5)))
RECORDED = list(range(100, 260, 10))


def accuracy(normalized):
    return SETTING.trivial + normalized * (SETTING.oracle - SETTING.trivial)


def trial(*curve, point=POINT, seed=0):
    """A trial with these steps and normalised scores, the last of which is its score."""
    level = accuracy(curve[-1][1])
    found = Accuracies(accuracy=level, accuracy_compat=level, sequence_accuracy=level)
    points = tuple((step, accuracy(score)) for step, score in curve)
    return Trial(
        point=point, seed=seed, steps=curve[-1][0], stopped="budget", curve=points, validation=found, test=found,
        seconds=1.0, seconds_per_step=0.01,
    )  # fmt: skip


def sweep(*trials, seed=0):
    return Sweep(trials=trials, best=trials[-1], seed=seed, parameters=1, state_size=None, seconds=1.0)


def requirement():
    pace = draw_pace(RECORDED, 0.9, most_seeds=8, level=0.001)
    floor = draw_floor("b.json", "mine", [0.97] * 16, margin=0.03, most_seeds=4, solved_at=0.97)
    return Requirement(first_seed=16, seeds=8, floor=floor, pace=pace, mark=0.9)


class Player:
    """Runs sweeps of a model that reaches the mark after so many steps, by seed; and notes what it was asked for."""

    def __init__(self, steps, score=0.98):
        self.steps, self.score, self.asked = steps, score, []

    def __call__(self, seed, is_late):
        steps = self.steps(seed)
        curve = [(step, self.score if step >= steps else 0.1) for step in range(50, max(steps, 300) + 51, 50)]
        own = trial(*curve, seed=seed)
        self.asked.append((seed, is_late is not never))
        check_late((own, None), is_late)
        return sweep(own, seed=seed)


def test_the_mark_is_read_off_a_curve_as_a_report_shows_it():
    """Whoever reads four digits finds the same steps."""
    curve = [(10, accuracy(0.9) - 4e-5), (20, accuracy(0.95)), (30, accuracy(0.96))]
    assert steps_of(SETTING, 0.9, curve) == steps_of(SETTING, 0.9, [(s, round(a, 4)) for s, a in curve])


def test_only_the_first_point_has_steps():
    late, early = trial((100, 0.2), (200, 0.95)), trial((50, 0.95), point=SETTING.recipe.points[1])
    assert steps_of_sweep(SETTING, 0.9, sweep(late, early)) == 200
    assert steps_of_sweep(SETTING, 0.9, sweep(early)) is None


def test_a_trial_is_late_behind_the_step_unless_it_had_learned():
    is_late = late_behind(SETTING, 0.9, 100)
    assert not is_late([(100, accuracy(0.1))])
    assert is_late([(100, accuracy(0.1)), (110, accuracy(0.1))])
    assert is_late([(100, accuracy(0.1)), (110, accuracy(0.95))])
    assert not is_late([(100, accuracy(0.95)), (110, accuracy(0.95))])
    assert is_late([(100, accuracy(0.95)), (110, accuracy(0.1))])  # it was an accident


def test_a_sound_model_takes_one_seed():
    player = Player(lambda seed: 150)
    found = run_seeds(SETTING, requirement(), player)
    assert player.asked == [(16, True)]
    assert [s.seed for s in found.sweeps] == [16]
    assert found.late == []


def test_a_late_model_is_cut_three_times():
    player = Player(lambda seed: 900)
    found = run_seeds(SETTING, requirement(), player)
    assert player.asked == [(16, True), (17, True), (18, True), (19, False)]
    assert [late.seed for late in found.late] == [16, 17, 18]
    assert {late.steps for late in found.late} == {300}
    assert [s.seed for s in found.sweeps] == [19]


def test_a_seed_that_was_cut_and_is_asked_for_again_is_late_no_more():
    player = Player(lambda seed: 900 if seed == 16 else 100, score=0.92)
    found = run_seeds(SETTING, requirement(), player)
    assert (16, False) in player.asked
    assert found.late == []
    assert [s.seed for s in found.sweeps] == [16, 17, 18, 19]
    assert [seed.score is not None for seed in found.seen] == [True] * 4


def test_a_stored_trial_that_went_on_counts_as_cut():
    own = trial((100, 0.1), (200, 0.1), (300, 0.1), (400, 0.95), (500, 0.95))
    with pytest.raises(LateError) as found:
        check_late((own, None), late_behind(SETTING, 0.9, 250))
    assert found.value.curve == own.curve[:3]
    check_late((own, None), late_behind(SETTING, 0.9, 450))
    check_late(TrialError("diverged"), late_behind(SETTING, 0.9, 0))


def test_a_trial_that_ended_at_the_step_that_is_too_late_has_its_score():
    check_late((trial((100, 0.1), (300, 0.98)), None), late_behind(SETTING, 0.9, 250))


def test_a_diverged_seed_is_unsolved_and_the_next_is_tried():
    player = Player(lambda seed: 150)

    def run(seed, is_late):
        if seed == 16:
            raise TrialError("the loss is nan")
        return player(seed, is_late)

    found = run_seeds(SETTING, requirement(), run)
    assert found.seen[0].steps is None
    assert found.seen[0].score is None
    assert found.sweeps
    assert min(steps_by_seed(SETTING, 0.9, found).items()) == (16, None)


def test_a_model_that_always_diverges_raises_what_it_did():
    def run(seed, is_late):
        raise TrialError(f"the loss of seed {seed} is nan")

    with pytest.raises(TrialError, match="seed 19"):
        run_seeds(SETTING, requirement(), run)


def test_time_that_runs_out_leaves_what_there_is():
    player = Player(lambda seed: 150, score=0.92)

    def run(seed, is_late):
        if seed == 17:
            raise OutOfTimeError("out of time")
        return player(seed, is_late)

    found = run_seeds(SETTING, requirement(), run)
    assert [s.seed for s in found.sweeps] == [16]
    with pytest.raises(OutOfTimeError):
        run_seeds(SETTING, replace(requirement(), first_seed=17), run)


def test_time_that_runs_out_behind_a_cut_seed_leaves_the_case_open():
    """It has no score to show, and is no error of the model's."""
    player = Player(lambda seed: 900)

    def run(seed, is_late):
        if seed == 17:
            raise OutOfTimeError("out of time at step 100 of 3000")
        return player(seed, is_late)

    with pytest.raises(OpenCaseError, match="late, and undecided whether it is slower, behind 300 steps; out of time"):
        run_seeds(SETTING, requirement(), run)
