"""What a step costs: measured without compiling and evaluating, and told where it is much more than recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pytest_mad.common.packages import minor
from pytest_mad.evaluation.cost import ENOUGH, cost
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import Requirement
from pytest_mad.evaluation.sweep import Sweep
from pytest_mad.gate import draw_floor
from pytest_mad.gate.baseline import Baseline, Entry
from pytest_mad.training.clock import StepClock
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import train_trial
from tests.unit.tiny import CPU, POINT, Tiny, make_setting, train

ENTRY = Entry(
    **make_setting().identity(), torch=minor(torch.__version__), device="cpu", first_seed=0, scores=(0.9,) * 4,
    mark=None, steps=(), seconds_per_step=0.01, first=None,
)  # fmt: skip
FLOOR = draw_floor("b.json", "mine", ENTRY.scores, margin=0.0, most_seeds=2, solved_at=0.97)
OWN = Baseline(source="b.json", entries={})


def sweep(seconds, stored=False):
    trial, _ = train()
    trials = (replace(trial, seconds=seconds),)
    return Sweep(trials=trials, best=trials[0], stored=stored, seed=0, parameters=1, state_size=None, seconds=seconds)


def told(now, sweeps=None, entry=ENTRY, device=CPU, record=False, **options):
    requirement = Requirement(floor=FLOOR, entry=entry, record=record)
    return cost(requirement, RunOptions(**{"baseline": OWN} | options), sweeps or [sweep(ENOUGH)], now, device)


def test_a_step_that_takes_much_longer_is_told():
    assert told(0.021) == "a step takes 2.1 times as long as recorded (0.021 s, not 0.01)"
    assert told(0.0151) != ""


@pytest.mark.parametrize(
    "why",
    [
        {"now": 0.015},
        {"now": 0.9, "sweeps": [sweep(ENOUGH / 3), sweep(ENOUGH / 3)]},
        {"now": 0.9, "sweeps": [sweep(ENOUGH, stored=True)]},
        {"now": 0.9, "entry": replace(ENTRY, seconds_per_step=None)},
        {"now": 0.9, "entry": replace(ENTRY, torch="1.0")},
        {"now": 0.9, "entry": None},
        {"now": 0.9, "device": torch.device("meta")},
        {"now": 0.9, "record": True},
        {"now": 0.9, "engine": "vmap"},
        {"now": 0.9, "baseline": replace(OWN, is_shipped=True)},
    ],
    ids=["a little", "too short", "found again", "never measured", "another torch", "thresholds", "another device",
         "a recording", "a stack", "another architecture"],
)  # fmt: skip
def test_otherwise_nothing_is(why):
    assert told(**why) == ""


def test_one_long_stretch_does_not_count():
    """The first includes compiling; what lies between two stretches is no step."""
    times = iter([0.0, 90.0, 95.0, 95.5, 200.0, 201.0])
    clock = StepClock(now=lambda: next(times))
    for first, last in ((0, 10), (10, 20), (20, 40)):
        clock.begin(first)
        clock.end(last)
    assert clock.seconds_per_step == pytest.approx(0.05)


def test_a_trial_knows_what_its_steps_took():
    setting = make_setting()
    trial, _ = train_trial(Tiny, setting, POINT, 0, load_data(setting, 0), device=CPU)
    assert 0 < trial.seconds_per_step < trial.seconds
