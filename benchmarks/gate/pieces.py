"""What the gate's detection is made of: contracts, trials and comparisons, each measured once and kept.

What is asked of them - is this a defect, who finds it? - is written as if every trial were there. A trial that is not
raises `Missing`, which says what to measure next.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import pytest

from benchmarks.calibration.baselines import baseline_of
from benchmarks.record import RESULTS
from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import ContractOptions, Mode, RunOptions
from pytest_mad.evaluation.requirement import pace_of
from pytest_mad.evaluation.seeds import steps_of
from pytest_mad.evaluation.setting import choose_device, run_and_judge
from pytest_mad.gate.baseline import Baseline, Entry
from pytest_mad.gate.pool import FirstSeed, judge_pool
from pytest_mad.gate.speed import Bounds, Pace, Ratio, ratio
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting
from pytest_mad.suite.plan import contract_options

from .defects import BASES, PLANTED, Planted

PRESET = "smoke"
#: Seeds that decide whether a change is a defect; the gate does not see them.
TRUTH_SEEDS = (100, 101)
#: Those that tell how many times the steps it takes.
STEPS_SEEDS = (100, 101, 102, 103)
#: From so many times the steps on a change is a defect, at which no more is asked.
MUCH_SLOWER = 3.0
#: The seed of a run without options.
DEFAULT_SEED = 0

Pieces = Mapping[str, dict[str, Any]]
#: ``get(setting, seed)``: a trial's record; without a seed that of the comparison with the base's baseline
Get = Callable[[Setting, int | None], dict[str, Any]]


class Piece(NamedTuple):
    """One thing to measure of a change: its contracts, one of its trials, or a comparison with the base's baseline."""

    planted: str
    setting: str = ""
    seed: int | None = None

    @property
    def key(self) -> str:
        """Its name among the recorded ones."""
        trial = "against the baseline" if self.seed is None else f"seed {self.seed}"
        return f"{self.planted} | " + (f"{self.setting} {trial}" if self.setting else "contracts")


class Missing(Exception):  # noqa: N818 -- asks for more, and is no error
    """This piece is not measured yet."""

    def __init__(self, piece: Piece) -> None:
        super().__init__(piece.key)
        self.piece = piece


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How a run ended: by what it was flagged, if at all, and what that took."""

    by: str | None
    detail: str
    seconds: float
    steps: int


class Truth(NamedTuple):
    """Whether a change costs a capability; where, or else its lowest score."""

    setting: str | None
    lowest: float
    scores: dict[str, list[float]]


class Slowness(NamedTuple):
    """In how many times the steps a change reaches the mark, in the setting where it is slowest."""

    setting: str
    ratio: Ratio
    #: the settings that were asked, and the median of each
    medians: dict[str, float]


@functools.cache
def preset() -> dict[str, Setting]:
    """The settings by name, read once."""
    return settings(PRESET)


def by_cost() -> list[Setting]:
    """The settings, cheapest first."""
    return sorted(preset().values(), key=lambda setting: setting.cost)


@functools.cache
def baselines() -> dict[str, dict[str, Entry]]:
    """The baseline of each base whose seeds are recorded."""
    files = {base: RESULTS / f"calibrate-{PRESET}-{base}.json" for base in BASES}
    found = {base: baseline_of(file) for base, file in files.items() if file.exists()}
    return {base: entries for base, entries in found.items() if entries}


def pace(base: str, setting: Setting) -> Pace | None:
    """What a baseline asks of the steps in one setting."""
    entry = baselines()[base][setting.id]
    return pace_of(setting, RunOptions(baseline=Baseline(source=base, entries={})), entry)


def identity(piece: Piece) -> dict[str, Any]:
    """What a record depends on, apart from the code; a record with another is measured again."""
    base = PLANTED[piece.planted].base
    if piece.setting and piece.seed is None:
        setting, entry = preset()[piece.setting], baselines()[base][piece.setting]
        asked = repr((entry.scores, entry.steps, entry.mark, setting.gate, setting.preset_tasks))
        return {"base": base, "baseline": hashlib.sha256(asked.encode()).hexdigest()[:16], **setting.identity()}
    if piece.setting:
        return {"base": base, **preset()[piece.setting].identity()}
    where = default_contracts().setting
    assert where is not None
    return {"base": base, **where.identity()}


def measure(piece: Piece) -> dict[str, Any]:
    """Its record."""
    planted = PLANTED[piece.planted]
    if not piece.setting:
        found = measure_contracts(planted)
    elif piece.seed is None:
        found = measure_comparison(planted, preset()[piece.setting])
    else:
        found = measure_trial(planted, piece)
    return {**found, "identity": identity(piece)}


class _NoOptions:
    """A command line and an ini file that say nothing."""

    def __init__(self) -> None:
        self.stash = pytest.Stash()

    def getoption(self, name: str) -> None:
        return None

    def getini(self, name: str) -> None:
        return None


@functools.cache
def default_contracts() -> ContractOptions:
    """The contracts of a run of the preset without options."""
    return contract_options(cast("pytest.Config", _NoOptions()), preset())


def measure_contracts(planted: Planted) -> dict[str, Any]:
    """The first hard contract that is broken, or else every other one that is, with the seconds until then."""
    options = default_contracts()
    hard = {name: options.mode(name).name == "fail" for name in options.names()}
    asked: dict[str, Any] = {"broken": None, "detail": "", "seconds": 0.0, "warnings": {}}
    for name in sorted(hard, key=lambda name: not hard[name]):
        outcome, detail, seconds = ask(planted, name, options)
        asked["seconds"] = round(asked["seconds"] + seconds * hard[name], 3)
        if outcome in ("fail", "error") and hard[name]:
            return asked | {"broken": name, "detail": detail}
        if outcome in ("fail", "error"):
            asked["warnings"][name] = detail
    return asked


def ask(planted: Planted, name: str, options: ContractOptions) -> tuple[str, str, float]:
    """One contract, failing whatever its own mode is: outcome, detail, seconds."""
    strict = replace(options, modes=((name, Mode("fail")),))
    assert options.setting is not None
    result, _ = run_contract(planted.architecture(), options.setting, name, strict, choose_device("cpu"))
    return result.verdict, result.detail, result.seconds


def contracts_asked_before() -> ContractOptions:
    """None again: they are pieces of their own."""
    names = ContractOptions().names()
    return ContractOptions(modes=tuple((name, Mode("off", "asked before")) for name in names))


def measure_trial(planted: Planted, piece: Piece) -> dict[str, Any]:
    """A full-budget sweep of one setting and seed."""
    run = RunOptions(first_seed=piece.seed, device="cpu", contracts=contracts_asked_before())
    result = run_and_judge(planted.architecture(), preset()[piece.setting], run).result
    return {
        "verdict": result.verdict,
        "detail": result.detail,
        "normalized": result.normalized,
        "steps": sum(trial.steps for trial in result.trials),
        "seconds": result.seconds,
        "curves": [[(step, round(accuracy, 4)) for step, accuracy in trial.curve] for trial in result.trials],
    }


def measure_comparison(planted: Planted, setting: Setting) -> dict[str, Any]:
    """One setting against the recorded seeds of the base, as a run with ``--mad-baseline`` has it."""
    architecture = planted.architecture()
    baseline = Baseline(source=planted.base, entries={architecture.name: baselines()[planted.base]})
    run = RunOptions(baseline=baseline, device="cpu", contracts=contracts_asked_before())
    result = run_and_judge(architecture, setting, run).result
    return {
        "verdict": result.verdict,
        "detail": result.detail,
        "normalized": result.normalized,
        "steps": sum(trial.steps for trial in result.trials),
        "seconds": result.seconds,
        "to_mark": [steps for _, steps in result.steps],
    }


def lookup(planted: Planted, pieces: Pieces) -> Get:
    """The recorded trials of a change."""

    def get(setting: Setting, seed: int | None) -> dict[str, Any]:
        return recorded(Piece(planted.name, setting.id, seed), pieces)

    return get


def recorded(piece: Piece, pieces: Pieces) -> dict[str, Any]:
    """Its record, if it is there and up to date; else `Missing`."""
    record = pieces.get(piece.key)
    if record is None or record["identity"] != identity(piece):
        raise Missing(piece)
    return record


def truth(get: Get, chosen: list[Setting]) -> Truth:
    """Below the threshold in one setting, under both of two seeds: cheapest setting first, until one is found.

    A trial that ends in an error, or in a model that sees the future, has no score and is below any threshold.
    """
    scores: dict[str, list[float]] = {}
    for setting in chosen:
        for seed in TRUTH_SEEDS:
            record = get(setting, seed)
            scores.setdefault(setting.id, []).append(record["normalized"] or 0.0)
            if record["verdict"] == "pass":
                break
        else:
            return Truth(setting.id, min(scores[setting.id]), scores)
    return Truth(None, min(score for found in scores.values() for score in found), scores)


def against_threshold(get: Get, chosen: list[Setting]) -> Finding:
    """A run without options, which ends at its first failure: one seed, the preset's thresholds."""
    seconds, steps = 0.0, 0
    for setting in chosen:
        record = get(setting, DEFAULT_SEED)
        seconds, steps = seconds + record["seconds"], steps + record["steps"]
        if record["verdict"] != "pass":
            by = f"{setting.id} {record['verdict']}"
            return Finding(by=by, detail=record["detail"], seconds=round(seconds, 1), steps=steps)
    return Finding(by=None, detail="", seconds=round(seconds, 1), steps=steps)


def slowness(planted: Planted, get: Get, chosen: list[Setting]) -> Slowness:
    """How many times the steps: cheapest setting first, until one shows that it is a defect.

    Of several seeds in each setting, none of which the gate sees, against the recorded ones of the base.
    """
    found: dict[str, Ratio] = {}
    for setting in chosen:
        entry = baselines()[planted.base][setting.id]
        assert entry.mark is not None
        bounds = [bounds_of(setting, entry.mark, curve_of(planted, setting, seed, get)) for seed in STEPS_SEEDS]
        found[setting.id] = ratio(bounds, entry.steps)
        if found[setting.id].low_median >= MUCH_SLOWER:
            break
    slowest = max(found, key=lambda name: found[name].low_median)
    return Slowness(slowest, found[slowest], {name: round(one.low_median, 2) for name, one in found.items()})


def curve_of(planted: Planted, setting: Setting, seed: int, get: Get) -> Sequence[tuple[int, float]]:
    """Of the trial at the recipe's first point; none where it ended in an error. The oldest records have no curves."""
    record = get(setting, seed)
    if "curves" not in record:
        raise Missing(Piece(planted.name, setting.id, seed))
    return record["curves"][0] if record["curves"] else []


def bounds_of(setting: Setting, mark: float, curve: Sequence[tuple[int, float]]) -> Bounds:
    """Between which steps a trial reached the mark; behind its budget where it did not.

    A trial that was given up would not have arrived within its budget either.
    """
    steps = steps_of(setting, mark, curve) if curve else None
    if steps is not None:
        return Bounds(steps, steps)
    return Bounds(setting.recipe.total_steps(setting.params.num_train_examples), math.inf)


def against_baseline(planted: Planted, get: Get, chosen: list[Setting]) -> Finding:
    """A run against the base's recorded seeds, which ends at its first failure; the pooled test is the last."""
    seconds, steps, firsts = 0.0, 0, []
    for setting in chosen:
        record = get(setting, None)
        seconds, steps = seconds + record["seconds"], steps + record["steps"]
        if record["verdict"] != "pass":
            by = f"{setting.id} {record['verdict']}"
            return Finding(by=by, detail=record["detail"], seconds=round(seconds, 1), steps=steps)
        asked = pace(planted.base, setting)
        if asked and record["to_mark"]:
            firsts.append(FirstSeed(asked, record["to_mark"][0]))
    pooled = judge_pool(firsts)
    is_late = pooled is not None and pooled.outcome == "slower"
    by_pool, detail = ("pooled slower", pooled.detail) if pooled and is_late else (None, "")
    return Finding(by=by_pool, detail=detail, seconds=round(seconds, 1), steps=steps)
