"""A trial ends solved, hopeless, with its budget, or as an error of one line; nothing else ends it."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_mad.common.records import plain
from pytest_mad.common.text import round_down
from pytest_mad.evaluation.setting import trial_result
from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.training.trial import TrialError, ending
from tests.unit.tiny import POINT, Tiny, make_setting, train


def test_a_solved_trial_ends_early():
    """At the first evaluation whose normalised accuracy reaches the top."""
    setting = make_setting(steps=300, solved_at=0.9)
    trial, _ = train(setting=setting)
    reached = [setting.normalized(accuracy) >= 0.9 for _, accuracy in trial.curve]
    assert trial.stopped == "solved"
    assert trial.steps == trial.curve[-1][0] < 300
    assert reached == [False] * (len(reached) - 1) + [True]


def test_a_hopeless_trial_ends_at_its_share_of_the_budget():
    """At the first evaluation from half of 40 steps on."""
    setting = make_setting(steps=40, evaluate_every=8, hopeless_after=0.5, hopeless_below=0.5)
    trial, _ = train(setting=setting, point=Point(lr=1e-8))
    assert (trial.stopped, trial.steps) == ("hopeless", 24)


def test_a_trial_uses_its_budget_up_and_is_evaluated_at_the_end():
    """Every 10 steps, and at step 25; ``progress`` hears of each evaluation."""
    heard = []
    trial, _ = train(progress=lambda *what: heard.append(what))
    assert (trial.stopped, trial.steps) == ("budget", 25)
    assert [step for step, _ in trial.curve] == [10, 20, 25]
    assert heard == [(step, 25, accuracy) for step, accuracy in trial.curve]


def test_evaluations_may_come_at_growing_steps():
    """Each at least half as many again as the one before, in steps of two."""
    trial, _ = train(setting=make_setting(steps=25, evaluate_every=2, evaluate_growth=1.5))
    assert [step for step, _ in trial.curve] == [2, 4, 6, 10, 16, 24, 25]


def evaluations(recipe, total):
    """All of a trial."""
    steps = [recipe.evaluation_after(0, total)]
    while steps[-1] < total:
        steps.append(recipe.evaluation_after(steps[-1], total))
    return steps


@given(st.integers(1, 5000), st.integers(1, 60), st.sampled_from([1.0, 1.05, 1.1, 1.5, 2.0, 10.0]))
def test_evaluations_grow_as_little_as_they_may(total, every, growth):
    """Multiples of ``every`` up to the last step, none that could have come earlier."""
    recipe = Recipe(points=(POINT,), steps=total, evaluate_every=every, evaluate_growth=growth)
    *steps, last = evaluations(recipe, total)
    assert last == total
    for before, step in pairwise([0, *steps]):
        assert step < total and step % every == 0
        allowed = [
            other for other in range(before + every, step + 1, every) if other * 20 >= before * round(growth * 20)
        ]
        assert allowed == [step]


def test_at_a_growth_of_a_tenth_the_grid_is_the_one_that_recordings_have():
    """100 times 1.1 is above 110 as a float."""
    recipe = Recipe(points=(POINT,), steps=300, evaluate_every=10, evaluate_growth=1.1)
    assert evaluations(recipe, 300) == [*range(10, 120, 10), 130, 150, 170, 190, 210, 240, 270, 300]


@pytest.mark.parametrize(
    ("scores", "step", "expected"),
    [
        ([0.1, 0.95], 20, "solved"),
        ([0.1, 0.95], 100, "solved"),
        ([0.1, 0.2], 49, None),
        ([0.1, 0.2], 50, "hopeless"),
        ([0.1, 0.2], 100, "budget"),
        ([0.31, 0.2], 80, None),
        ([0.94], 80, None),
    ],
)
def test_a_trial_is_hopeless_only_if_it_never_rose(scores, step, expected):
    """Normalised scores of the curve; 100 steps, hopeless from half on at 0.3 or less, solved at 0.95."""
    setting = make_setting(solved_at=0.95, hopeless_after=0.5, hopeless_below=0.3)
    accuracies = [setting.trivial + score * (setting.oracle - setting.trivial) + 1e-9 for score in scores]
    steps = [*range(1, len(scores)), step]
    assert ending(setting, list(zip(steps, accuracies, strict=True)), 100) == expected


class NaNGradient(Tiny):
    """Its loss is finite, its first gradient is not."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, tokens):
        return super().forward(tokens) * (1 + self.zero.sqrt())


@pytest.mark.parametrize(
    ("build", "point", "steps"),
    [(Tiny, Point(lr=1e30), 25), (NaNGradient, POINT, 25), (NaNGradient, POINT, 1)],
    ids=["diverges", "breaks down", "breaks down at its last step"],
)
def test_a_trial_that_diverges_is_an_error_of_one_line(build, point, steps):
    """Never a score of weights that are no numbers."""
    with pytest.raises(TrialError) as caught:
        train(build, point=point, setting=make_setting(steps=steps))
    assert len(str(caught.value).splitlines()) == 1
    assert f"{point.lr:g}" in str(caught.value)
    assert "step" in str(caught.value)


def test_a_trial_whose_time_is_up_is_an_error_of_one_line():
    """Found at the next evaluation, and with what that one measured: whether more time would help is a question of it."""
    setting = make_setting()
    at_step_10 = train(setting=setting)[0].curve[0]
    reached = f"{round_down(setting.normalized(at_step_10[1])):.3f}"
    with pytest.raises(TrialError) as caught:
        train(setting=setting, deadline=time.monotonic())
    assert str(caught.value) == f"out of time at step 10 of 25, with a normalised validation score of {reached}"


def test_a_trial_s_record_is_plain():
    """As a result file has it."""
    trial, _ = train(setting=make_setting(steps=10, num_validation_examples=33))
    record = plain(trial_result(trial))
    accuracy = record["curve"][0].pop()
    assert type(accuracy) is float and accuracy == round(trial.validation.accuracy, 4)
    assert record == {"lr": 0.01, "weight_decay": 0.1, "seed": 0, "steps": 10, "stopped": "budget", "curve": [[10]]}
