"""The presets smoke and ci are what their measurements say: ``python -m benchmarks.calibration.calibrate`` wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.calibration.calibrate import first_point_only, identity, is_known
from pytest_mad import settings
from pytest_mad.training.trial import ending

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


#: Whose seeds set the budgets, and how many: later ones test them.
SEEDS = {"smoke": 20, "ci": 5}
CASES = [(preset, name) for preset in SEEDS for name in settings(preset)]


def records(architecture, name, preset="smoke"):
    """The recorded trials of a setting, by seed."""
    content = json.loads((RESULTS / f"calibrate-{preset}-{architecture}.json").read_text())
    return [record for key, record in content["trials"].items() if key.startswith(f"{name} seed ")]


@pytest.mark.parametrize(("preset", "name"), CASES)
def test_the_transformer_passes_under_every_seed_the_first_within_a_third_of_the_budget(preset, name):
    """Trained with today's parameters, at the recipe's first point."""
    setting = first_point_only(settings(preset)[name])
    found = records("transformer", name, preset)
    assert len(found) >= SEEDS[preset]
    for record in found:
        (trial,) = record["trials"]
        assert record["identity"] == identity(setting)
        assert setting.normalized(record["accuracy"]) >= setting.threshold
        assert trial["stopped"] == "solved"
        assert trial["seed"] >= SEEDS[preset] or 3 * trial["steps"] <= setting.recipe.steps


@pytest.mark.parametrize("name", list(settings("smoke")))
def test_every_recorded_trial_that_was_solved_ends_so_and_is_not_called_hopeless(name):
    """Whatever the preset says of hopeless trials today; also one of the other reference architectures."""
    setting = settings("smoke")[name]
    solved = 0
    for file in RESULTS.glob("calibrate-smoke-*.json"):
        for record in records(file.stem.rpartition("-")[2], name):
            (trial,) = record["trials"]
            if trial["stopped"] == "solved" and is_known(record, setting):
                *before, last = trial["curve"]  # to four digits
                curve = [(step, accuracy - 5e-5) for step, accuracy in before] + [(last[0], last[1] + 5e-5)]
                ends = [ending(setting, curve[:n], setting.recipe.steps) for n in range(1, len(curve) + 1)]
                assert ends == [None] * (len(curve) - 1) + ["solved"], (file.stem, trial["seed"])
                solved += 1
    assert solved >= SEEDS["smoke"]


def test_the_negative_controls_fail_what_they_lack():
    """A window of four tokens memorizes, but neither recalls nor copies; without mixing nothing is learned."""
    sliding = {name: {r["verdict"] for r in records("sliding_window", name)} for name in settings("smoke")}
    assert sliding.pop("memorization[baseline]") == {"pass"}
    assert all(verdicts <= {"fail"} for verdicts in sliding.values())
    assert all({r["verdict"] for r in records("channel_only", name)} == {"fail"} for name in settings("smoke"))
