"""The gate's numbers: the arithmetic behind them, and what ``python -m benchmarks.gate`` has measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.calibration import calibrate
from benchmarks.gate import rates as gate_rates
from benchmarks.gate.__main__ import next_piece
from benchmarks.gate.defects import PLANTED
from benchmarks.gate.expected import EXPECTED, expected
from benchmarks.gate.pieces import (
    STEPS_SEEDS,
    Missing,
    Piece,
    Slowness,
    against_baseline,
    against_threshold,
    baselines,
    by_cost,
    default_contracts,
    identity,
    recorded,
    slowness,
    truth,
)
from benchmarks.gate.rates import chance_of_a_split, clopper_pearson, groups, of_setting, rate
from benchmarks.gate.report import report, status, totals
from pytest_mad.gate import Gate
from pytest_mad.gate.speed import Ratio

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
SETTINGS = by_cost()


@pytest.mark.parametrize(
    ("successes", "trials", "interval"),
    [
        (81, 263, (0.2527, 0.3676)),
        (15, 148, (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1684)),
        (1, 29, (0.0009, 0.1776)),
        (1, 1, (0.025, 1.0)),
    ],
)
def test_the_interval_has_its_published_values(successes, trials, interval):
    """Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 5."""
    assert clopper_pearson(successes, trials) == pytest.approx(interval, abs=5e-5)


def test_the_interval_of_none_is_known_in_closed_form():
    assert clopper_pearson(0, 180)[1] == pytest.approx(1 - 0.025 ** (1 / 180), abs=1e-12)
    assert clopper_pearson(38, 38)[0] == pytest.approx(0.025 ** (1 / 38), abs=1e-12)


COUNTS = st.integers(1, 60).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


@given(COUNTS)
def test_the_interval_contains_the_share_and_mirrors(counts):
    successes, trials = counts
    low, high = clopper_pearson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = clopper_pearson(trials - successes, trials)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)


def chances(trials, p):
    """Of each number of successes, from one trial to the next."""
    found = [1.0]
    for _ in range(trials):
        found = [p * one + (1 - p) * other for one, other in zip([0.0, *found], [*found, 0.0], strict=True)]
    return found


@given(COUNTS)
def test_at_its_ends_the_observed_is_as_rare_as_promised(counts):
    successes, trials = counts
    low, high = clopper_pearson(successes, trials)
    if successes > 0:
        assert sum(chances(trials, low)[successes:]) == pytest.approx(0.025, abs=1e-9)
    if successes < trials:
        assert sum(chances(trials, high)[: successes + 1]) == pytest.approx(0.025, abs=1e-9)


@given(COUNTS, st.floats(0.5, 0.9))
def test_more_confidence_takes_a_wider_interval(counts, confidence):
    narrow, wide = clopper_pearson(*counts, confidence), clopper_pearson(*counts)
    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@pytest.mark.parametrize("counts", [(0, 0), (3, 2), (-1, 5)])
def test_an_impossible_count_is_refused(counts):
    with pytest.raises(ValueError, match="there must be"):
        clopper_pearson(*counts)


def test_of_nothing_there_is_no_rate():
    assert rate(0, 0)["share"] is None


SCORES = st.lists(st.sampled_from([0.0, 0.5, 0.9, 0.93, 0.95, 0.97, 0.98, 1.0]), min_size=6, max_size=9)


@given(SCORES, st.sampled_from([0.0, 0.03]), st.sampled_from([0.97, math.inf]))
def test_the_chance_of_a_split_is_that_of_trying_them_all(scores, margin, top):
    flagged = tried = 0
    for old in combinations(range(len(scores)), 4):
        rest = [i for i in range(len(scores)) if i not in old]
        line = min(*(scores[i] for i in old), top) - margin
        for new in combinations(rest, 2):
            tried += 1
            flagged += all(scores[i] < line for i in new)
    assert chance_of_a_split(scores, 4, 2, margin, top) == pytest.approx(flagged / tried)


def test_without_ties_and_margin_the_chance_is_the_bound():
    scores = [n / 20 for n in range(20)]
    assert chance_of_a_split(scores, 10, 4, 0.0, math.inf) == pytest.approx(1 / math.comb(14, 4))


def test_too_few_scores_cannot_be_split():
    with pytest.raises(ValueError, match="cannot be split"):
        chance_of_a_split([1.0] * 13, 10, 4, 0.0, 1.0)


def calibrated(folder, setting, scores):
    """A file of recorded seeds as ``benchmarks.calibration.calibrate`` writes it; None is a trial that ended in an error."""
    trials = {
        f"{setting.id} seed {seed}": {
            "identity": calibrate.identity(setting),
            "normalized": score,
            "trials": [] if score is None else [{"steps": setting.recipe.steps, "stopped": "budget"}],
        }
        for seed, score in scores.items()
    }
    file = folder / "calibrate-smoke-some.json"
    file.write_text(json.dumps({"trials": trials}))
    return file


def test_recorded_seeds_are_read_up_to_the_first_gap(tmp_path):
    file = calibrated(tmp_path, SETTINGS[0], {0: 0.98, 1: 0.97, 3: 0.99})
    assert gate_rates.seeds_of(file, SETTINGS[0]) == [0.98, 0.97]
    assert gate_rates.seeds_of(file, SETTINGS[1]) == []
    assert gate_rates.seeds_of(tmp_path / "none.json", SETTINGS[0]) == []


def test_a_recorded_error_counts_as_a_false_alarm(tmp_path):
    assert gate_rates.seeds_of(calibrated(tmp_path, SETTINGS[0], {0: 0.98, 1: None}), SETTINGS[0]) == [0.98, 0.0]


def test_a_seed_of_another_budget_is_not_read(tmp_path):
    longer = replace(SETTINGS[0], recipe=replace(SETTINGS[0].recipe, steps=9000))
    assert gate_rates.seeds_of(calibrated(tmp_path, longer, {0: 0.98}), SETTINGS[0]) == []


def test_groups_are_disjoint_and_behind_the_baseline():
    gate = Gate(baseline_seeds=3, seeds=2)
    assert groups([0, 1, 2, 3, 4, 5, 6, 7], gate) == [[3, 4], [5, 6]]
    assert groups([0, 1, 2, 3], gate) == []


def test_a_group_below_the_line_is_flagged_and_one_seed_below_the_threshold_too():
    setting = replace(SETTINGS[0], gate=Gate(baseline_seeds=3, seeds=2, margin=0.03))
    found = of_setting([0.99, 0.98, 0.98, 0.85, 0.90, 0.80, 0.99], setting)
    assert (found["baseline"]["count"], found["baseline"]["of"]) == (1, 2)
    assert (found["threshold"]["count"], found["threshold"]["of"]) == (2, 7)
    assert found["lowest"] == 0.8


def test_a_suite_is_flagged_by_any_of_its_settings():
    chosen = [replace(s, gate=Gate(baseline_seeds=2, seeds=1)) for s in SETTINGS[:2]]
    scores = {chosen[0].id: [0.99, 0.99, 0.5, 0.99], chosen[1].id: [0.99, 0.99, 0.99, 0.5, 0.99]}
    found = gate_rates.of_suite(scores, chosen)
    assert (found["threshold"]["count"], found["threshold"]["of"]) == (2, 4)
    assert (found["baseline"]["count"], found["baseline"]["of"]) == (2, 2)
    assert found["baseline_bound"] == pytest.approx(2 / 3)


def scripted(scores, asked=None):
    """``get`` of scripted trials: passes at 0.9, and None is an error; what is not there passes."""

    def get(setting, seed):
        score = scores.get((setting.id, seed), 0.98)
        if asked is not None:
            asked.append((setting.id, seed))
        verdict = "error" if score is None else "pass" if score >= 0.9 else "fail"
        return {"verdict": verdict, "detail": "", "normalized": score, "seconds": 1.0, "steps": 10}

    return get


FIRST, SECOND, *_ = (setting.id for setting in SETTINGS)


def test_a_capability_is_lost_if_two_seeds_agree_in_one_setting():
    both = {(SECOND, 100): 0.7, (SECOND, 101): 0.8}
    assert truth(scripted(both), SETTINGS)[:2] == (SECOND, 0.7)
    assert truth(scripted({(SECOND, 100): None, (SECOND, 101): None}), SETTINGS)[:2] == (SECOND, 0.0)
    asked = []
    one = truth(scripted({(FIRST, 100): 0.7}, asked), SETTINGS)
    assert (one.setting, one.lowest) == (None, 0.7)
    assert len(asked) == len(SETTINGS) + 1


def test_the_default_run_ends_at_its_first_failure():
    found = against_threshold(scripted({(SECOND, 0): 0.89}), SETTINGS)
    assert (found.by, found.seconds, found.steps) == (f"{SECOND} fail", 2.0, 20)
    assert against_threshold(scripted({}), SETTINGS).by is None
    assert against_threshold(scripted({(FIRST, 0): None}), SETTINGS).by == f"{FIRST} error"


CHANGE = PLANTED["truncated window"]
USUAL = {setting.id: baselines()["transformer"][setting.id].steps for setting in SETTINGS}


def compared(late=(), lost=()):
    """Scripted comparisons: the first seed is as early as the earliest recorded one, or later than all."""

    def get(setting, seed):
        assert seed is None
        steps = sorted(USUAL[setting.id])
        verdict = "regress" if setting.id in lost else "pass"
        to_mark = steps[-1] + 10 if setting.id in late else steps[0]
        return {"verdict": verdict, "detail": "", "seconds": 1.0, "steps": 10, "to_mark": [to_mark]}

    return get


def test_a_run_against_the_baseline_ends_at_its_first_failure():
    found = against_baseline(CHANGE, compared(lost={SECOND}), SETTINGS)
    assert (found.by, found.seconds, found.steps) == (f"{SECOND} regress", 2.0, 20)
    assert against_baseline(CHANGE, compared(), SETTINGS).by is None


def test_what_is_late_everywhere_is_found_by_the_pooled_test():
    assert against_baseline(CHANGE, compared(late={FIRST}), SETTINGS).by is None
    assert against_baseline(CHANGE, compared(late=set(USUAL)), SETTINGS).by == "pooled slower"


def trained(times):
    """Scripted trials, each in ``times`` the median of the recorded steps; None never arrives."""

    def get(setting, seed):
        assert seed in STEPS_SEEDS
        factor = times.get(setting.id, 1.0)
        usual = sorted(USUAL[setting.id])[len(USUAL[setting.id]) // 2]
        curve = [(10, 0.0)] if factor is None else [(round(factor * usual), 1.0)]
        return {"curves": [curve]}

    return get


def test_the_slowest_setting_tells_how_much_slower_a_change_is():
    found = slowness(CHANGE, trained({SECOND: 2.0}), SETTINGS)
    assert found.setting == SECOND
    assert found.ratio.low_median == pytest.approx(2.0, abs=0.3)
    assert found.medians.keys() == USUAL.keys()
    assert all(found.medians[name] == pytest.approx(1, abs=0.2) for name in USUAL if name != SECOND)


def test_no_more_is_asked_once_a_change_is_much_slower_or_does_not_arrive():
    assert slowness(CHANGE, trained({FIRST: 3.5}), SETTINGS).medians.keys() == {FIRST}
    never = slowness(CHANGE, trained({SECOND: None}), SETTINGS)
    assert (never.setting, never.ratio.high_median) == (SECOND, math.inf)
    assert never.ratio.low_median > 3


def test_a_record_without_its_curve_is_measured_again():
    with pytest.raises(Missing):
        slowness(CHANGE, lambda setting, seed: {}, SETTINGS)


def answered(asked):
    """What a run would measure, one piece after the other, all of it passing."""
    pieces = {}
    while (wanted := next_piece(CHANGE, pieces)) is not None:
        stage, piece = wanted
        asked.append((stage, piece.setting, piece.seed))
        record = {"broken": None, "detail": "", "warnings": {}, "verdict": "pass", "normalized": 0.98}
        curves = {"curves": [[[10, 1.0]]], "to_mark": [10]}
        pieces[piece.key] = record | curves | {"seconds": 1.0, "steps": 1, "identity": identity(piece)}
    return pieces


def test_a_change_that_passes_everything_is_asked_once_for_each():
    asked = []
    answered(asked)
    assert [stage for stage, *_ in asked] == (
        ["contracts"] + ["truth"] * 6 + ["compared"] * 6 + ["steps"] * 18 + ["flagged"] * 6
    )
    seeds = [seed for _, _, seed in asked]
    assert seeds[:13] == [None] + [100] * 6 + [None] * 6
    assert seeds[13:] == [101, 102, 103] * 6 + [0] * 6
    assert asked[1][1] == FIRST


def test_a_broken_contract_needs_no_training():
    piece = Piece(CHANGE.name)
    record = {"broken": "causality", "detail": "", "seconds": 1.0, "warnings": {}, "identity": identity(piece)}
    assert next_piece(CHANGE, {piece.key: record}) is None


def test_a_record_of_another_recipe_is_measured_again():
    pieces = answered([])
    key = Piece(CHANGE.name, FIRST, 100).key
    pieces[key]["identity"]["recipe"] = "another"
    with pytest.raises(Missing) as missing:
        recorded(Piece(CHANGE.name, FIRST, 100), pieces)
    assert missing.value.piece.key == key


def test_contracts_are_asked_as_a_run_without_options_asks_them():
    """At the longest sequences: fuzzy recall reads all of its 48 tokens, the other recalls one less."""
    options = default_contracts()
    assert options.setting.id == "fuzzy-in-context-recall[baseline]"
    assert options.modes == ()


def test_statuses():
    kept, broken = ({"broken": name, "warnings": {}} for name in (None, "causality"))
    lost = truth(scripted({(FIRST, 100): 0.7, (FIRST, 101): 0.7}), SETTINGS)
    fine = truth(scripted({}), SETTINGS)
    assert status(CHANGE, broken, None, None) == "contract"
    assert status(CHANGE, kept, lost, None) == "lost"
    assert status(CHANGE, kept, fine, None) == status(CHANGE, None, None, None) == "open"
    assert status(PLANTED["torch's attention"], kept, None, None) == "refactoring"
    speeds = {3.0: "much slower", 2.99: "slower", 2.0: "slower", 1.3: "somewhat slower", 1.29: "harmless"}
    for times, expectation in speeds.items():
        late = Slowness(FIRST, Ratio(times, math.inf, 1.0, math.inf), {FIRST: times})
        assert status(CHANGE, kept, fine, late) == expectation


def a_row(kind, expectation, default=None, baseline=None, times=None, tried=True):
    run = {"by": baseline, "seconds": 1.0} if tried else None
    slowest = None if times is None else {"times": times}
    return {
        "status": kind, "expected": expectation, "default": {"by": default, "seconds": 1.0}, "baseline": run,
        "slowest": slowest, "predicted": 0.8 if times else None,
    }  # fmt: skip


def test_totals():
    found = totals(
        {
            "a": a_row("contract", "contract", "contract causality", "contract causality"),
            "b": a_row("lost", "slower", f"{FIRST} fail", f"{FIRST} regress"),
            "c": a_row("lost", "lost", None, tried=False),
            "d": a_row("much slower", "slower", baseline=f"{FIRST} slower", times=4.0),
            "e": a_row("much slower", "harmless", baseline=None, times=3.1),
            "f": a_row("slower", "slower", baseline="pooled slower", times=2.1),
            "g": a_row("harmless", "harmless", times=1.0),
            "h": a_row("refactoring", "refactoring"),
            "i": a_row("open", "lost", tried=False),
        }
    )
    assert [found[k] for k in ("contract", "lost", "much_slower", "slower", "harmless", "open")] == [1, 2, 2, 1, 1, 1]
    assert (found["found"]["count"], found["found"]["of"]) == (2, 3)
    assert (found["found_of_lost"]["count"], found["found_of_lost"]["of"]) == (1, 2)
    against = {name: (r["count"], r["of"]) for name, r in found["against_baseline"].items()}
    assert against["defects"] == (3, 4)
    assert (against["lost"], against["slower"], against["refactoring"]) == ((1, 1), (1, 1), (0, 1))
    assert found["missed"] == {"e": 3.1}
    assert found["unexpected"].keys() == {"b", "e"}
    assert found["predicted_of_slower"] == 0.8


def test_every_change_has_one_expectation():
    listed = [name for names in EXPECTED.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name, change in PLANTED.items() if not change.is_refactoring}
    assert expected("truncated window") == "lost"


@pytest.fixture(scope="module")
def measured():
    return json.loads((RESULTS / "gate.json").read_text())


def test_the_report_is_made_of_the_recorded_pieces_and_seeds(measured):
    again = json.loads(json.dumps(report(measured["pieces"], RESULTS)))
    assert {key: measured[key] for key in again} == again


def test_at_least_25_defects_and_95_percent_of_them_found_without_a_baseline(measured):
    assert measured["totals"]["contract"] + measured["totals"]["lost"] >= 25
    assert measured["totals"]["found"]["share"] >= 0.95


def test_no_refactoring_is_flagged(measured):
    tried = measured["totals"]["flagged_refactorings"]
    assert tried["of"] >= 8
    assert tried["count"] == 0


def test_false_alarms_come_from_enough_seeds(measured):
    found = measured["false_alarms"]
    seeds = {name: min(s["seeds"] for s in table["settings"].values()) for name, table in found.items()}
    assert seeds["transformer"] >= 30
    assert sum(count >= 10 for count in seeds.values()) >= 3


def test_no_unchanged_architecture_regresses(measured):
    for table in measured["false_alarms"].values():
        assert table["suite"]["baseline"]["count"] == 0
        assert table["suite"]["baseline_bound"] <= 0.01
