"""What the gate's detection is made of: contracts and trials of planted changes, each measured once and kept.

What is asked of them - is this a defect, who finds it? - is written as if every trial were there. A trial that is not
raises `Missing`, which says what to measure next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import pytest

from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import ContractOptions, Mode, RunOptions
from pytest_mad.evaluation.setting import choose_device, run_and_judge
from pytest_mad.gate import Floor, judge_baseline
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting
from pytest_mad.suite.plan import contract_options

from .defects import PLANTED, Planted

PRESET = "smoke"
#: Seeds that decide whether a change is a defect; the gate does not see them.
TRUTH_SEEDS = (100, 101)
#: The seed of a run without options.
DEFAULT_SEED = 0

Pieces = Mapping[str, dict[str, Any]]
#: ``get(setting, seed)``: a trial's record
Get = Callable[[Setting, int], dict[str, Any]]


class Piece(NamedTuple):
    """One thing to measure: the contracts of a change, or one of its trials."""

    planted: str
    setting: str = ""
    seed: int = -1

    @property
    def key(self) -> str:
        """Its name among the recorded ones."""
        return f"{self.planted} | " + (f"{self.setting} seed {self.seed}" if self.setting else "contracts")


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


@functools.cache
def preset() -> dict[str, Setting]:
    """The settings by name, read once."""
    return settings(PRESET)


def by_cost() -> list[Setting]:
    """The settings, cheapest first."""
    return sorted(preset().values(), key=lambda setting: setting.cost)


def identity(piece: Piece) -> dict[str, Any]:
    """What a record depends on, apart from the code; a record with another is measured again."""
    base = PLANTED[piece.planted].base
    if piece.setting:
        return {"base": base, **preset()[piece.setting].identity()}
    where = default_contracts().setting
    assert where is not None
    return {"base": base, **where.identity()}


def measure(piece: Piece) -> dict[str, Any]:
    """Its record."""
    planted = PLANTED[piece.planted]
    found = measure_trial(planted, piece) if piece.setting else measure_contracts(planted)
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


def measure_trial(planted: Planted, piece: Piece) -> dict[str, Any]:
    """A full-budget sweep of one setting and seed; its contracts are pieces of their own."""
    names = ContractOptions().names()
    off = ContractOptions(modes=tuple((name, Mode("off", "asked before")) for name in names))
    run = RunOptions(first_seed=piece.seed, device="cpu", contracts=off)
    result = run_and_judge(planted.architecture(), preset()[piece.setting], run).result
    return {
        "verdict": result.verdict,
        "detail": result.detail,
        "normalized": result.normalized,
        "steps": sum(trial.steps for trial in result.trials),
        "seconds": result.seconds,
        "curves": [[(step, round(accuracy, 4)) for step, accuracy in trial.curve] for trial in result.trials],
    }


def lookup(planted: Planted, pieces: Pieces) -> Get:
    """The recorded trials of a change."""

    def get(setting: Setting, seed: int) -> dict[str, Any]:
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


def against_baseline(get: Get, chosen: list[Setting], lines: Mapping[str, Floor]) -> Finding:
    """A run against the base's recorded seeds, which ends at its first failure."""
    seconds, steps = 0.0, 0
    for setting in chosen:
        line, scores = lines[setting.id], list[float]()
        for seed in range(line.seeds, line.seeds + line.most_seeds):
            record = get(setting, seed)
            seconds, steps = seconds + record["seconds"], steps + record["steps"]
            if record["normalized"] is None:
                by = f"{setting.id} {record['verdict']}"
                return Finding(by=by, detail=record["detail"], seconds=round(seconds, 1), steps=steps)
            scores.append(record["normalized"])
            verdict = judge_baseline(scores, line)
            if verdict.outcome == "pass":
                break
        else:
            by = f"{setting.id} {verdict.outcome}"
            return Finding(by=by, detail=verdict.detail, seconds=round(seconds, 1), steps=steps)
    return Finding(by=None, detail="", seconds=round(seconds, 1), steps=steps)
