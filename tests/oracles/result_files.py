"""Contents of result files: one to change by hand, and Hypothesis strategies for all that a run may write."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from pytest_mad.common.records import plain
from pytest_mad.gate import Floor, draw_floor
from pytest_mad.gate.speed import Pace, draw_pace
from pytest_mad.results.result import (
    ArchitectureResult,
    Attempt,
    Best,
    ContractResult,
    Environment,
    Run,
    SettingResult,
    Shards,
    TrialResult,
)
from pytest_mad.results.result_file import item_result, run_from, run_of, to_json

LEVELS = {"oracle": 1.0, "trivial": 0.5}
TASKS = ("memorization", "compression", "in-context-recall")
NAMES = ("baseline", "vocab_size=32", "mode=compat")


def measured(setting: str = "memorization[baseline]", normalized: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    """A finished setting: passed, unless ``changes`` say otherwise; without a score in the form it has then."""
    accuracy = None if normalized is None else max(0.0, min(1.0, 0.5 + normalized / 2))
    score = {"accuracy": accuracy, "accuracy_compat": accuracy, "sequence_accuracy": accuracy}
    trial = {
        "lr": 1e-3,
        "weight_decay": 0.0,
        "seed": 0,
        "steps": 20,
        "stopped": "solved",
        "curve": [[10, 0.5], [20, 1]],
    }
    trained: dict[str, Any] = {
        "trials": [trial],
        "best": {"lr": 1e-3, "weight_decay": 0.0, "seed": 0},
        "scores": [[0, normalized]],
        "parameters": 1000,
    }
    given = {
        "architecture": "mine",
        "setting": setting,
        "task": setting.partition("[")[0],
        "task_version": 1,
        "params": {"vocab_size": 16, "frac_noise": 0.0, "mode": "fixed"},
        "preset": "tiny",
        "verdict": "pass",
        "normalized": normalized,
        "recipe": "00ff",
        **(LEVELS | score | ({} if normalized is None else trained)),
    }
    return plain(setting_of(given | changes))


def contract(name: str, verdict: str = "pass", detail: str = "", architecture: str = "mine") -> dict[str, Any]:
    """A checked contract; a pass with a reason is one that warns."""
    warned = (detail,) if verdict == "pass" and detail else ()
    said = "" if warned else detail
    return plain(ContractResult(architecture=architecture, contract=name, verdict=verdict, detail=said, warned=warned))


def content(
    *records: dict[str, Any],
    preset: str = "tiny",
    preset_tasks: Mapping[str, int] | None = None,
    shards: Sequence[dict[str, Any]] = (),
    **environment: Any,
) -> dict[str, Any]:
    """What a result file holds of settings and contracts."""
    settings = [setting_of(record) for record in records if "setting" in record]
    contracts = [item_result(record) for record in records if "contract" in record]
    parts = [Shards(**shard | {"parts": tuple(shard["parts"])}) for shard in shards]
    found = to_json(run_of(settings, preset, contracts, "pytest --mad-arch=mine:make_model", shards=parts))
    found["environment"] |= environment
    if preset_tasks is not None:
        found["preset_tasks"] = dict(preset_tasks)
    return found


def run(content: dict[str, Any]) -> Run:
    """The run that a content stands for, which stays as it is."""
    return run_from(copy.deepcopy(content))


# -- records that no file may hold, for what must bear them all the same ----------------------------------------------


def setting_of(record: dict[str, Any]) -> SettingResult:
    """A setting's record from plain values, whatever they are."""
    found = dict(record)
    found["baseline"] = Floor(**found["baseline"]) if found.get("baseline") else None
    found["best"] = Best(**found["best"]) if found.get("best") else None
    found["trials"] = tuple(TrialResult(**one | {"curve": pairs(one["curve"])}) for one in found.get("trials", ()))
    for name in ("scores", "steps"):
        found[name] = pairs(found.get(name, ()))
    pace = found.get("pace")
    found["pace"] = Pace(**pace | {"recorded": tuple(pace["recorded"])}) if pace else None
    found["attempts"] = attempts_of(found)
    return SettingResult(**found)


def attempts_of(record: dict[str, Any]) -> tuple[Attempt, ...]:
    return tuple(Attempt(**one) for one in record.get("attempts", ()))


def pairs(found: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, found))


def unchecked(content: dict[str, Any]) -> Run:
    """As :func:`run`, for names that no file may have."""
    return Run(
        preset=content["preset"],
        preset_tasks=content["preset_tasks"],
        command=content["command"],
        cut_short=content["cut_short"],
        shards=tuple(Shards(**one | {"parts": tuple(one["parts"])}) for one in content["shards"]),
        environment=Environment(**content["environment"]),
        architectures={
            name: _architecture(name, one, {key: content[key] for key in ("preset", "preset_tasks")})
            for name, one in content["architectures"].items()
        },
    )


def _architecture(name: str, found: dict[str, Any], whole: dict[str, Any]) -> ArchitectureResult:
    settings = {}
    for setting, one in found["settings"].items():
        named = {"architecture": name, "setting": "x[baseline]", "task": "x", **whole}
        settings[setting] = result = setting_of(one | named | {"state_size": found["state_size"]})
        for key, text in (("setting", setting), ("task", one["task"])):  # which no record would bear
            object.__setattr__(result, key, text)
    contracts = {
        contract: ContractResult(
            architecture=name,
            contract=contract,
            **one | {"warned": tuple(one["warned"]), "attempts": attempts_of(one)},
        )
        for contract, one in found["contracts"].items()
    }
    return ArchitectureResult(**found | {"settings": settings, "contracts": contracts})


# -- strategies -----------------------------------------------------------------------------------------------------

_texts = st.text(max_size=12)
_shares = st.floats(0, 1)
_scores = st.floats(-1, 1.25)
_architectures = st.sampled_from(["mine", "other", "a.b-c_1"])


@st.composite
def lines(draw: st.DrawFn) -> dict[str, Any]:
    """What a baseline asks for."""
    drawn = draw(st.lists(_scores, min_size=1, max_size=4))
    seeds = draw(st.integers(1, 8))
    line = draw_floor("main.json", "mine", drawn, margin=draw(st.floats(0, 0.5)), most_seeds=seeds, solved_at=0.99)
    return plain(line)


@st.composite
def paces(draw: st.DrawFn) -> dict[str, Any] | None:
    """What a baseline asks of the steps to the mark; nothing where too many recorded seeds have none."""
    recorded = draw(st.lists(st.none() | st.integers(10, 3000), min_size=4, max_size=6))
    return plain(draw_pace(recorded, draw(_shares), most_seeds=draw(st.integers(2, 8)), level=0.1))


@st.composite
def trials(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "lr": draw(st.sampled_from([1e-4, 1e-3, 1])),
        "weight_decay": draw(st.sampled_from([0, 0.1])),
        "seed": draw(st.integers(0, 2**70)),
        "steps": draw(st.integers(0, 20_000)),
        "stopped": draw(st.sampled_from(["solved", "hopeless", "budget", "late"])),
        "curve": draw(st.lists(st.tuples(st.integers(1, 20_000), _shares).map(list), max_size=3)),
    }


@st.composite
def attempts(draw: st.DrawFn) -> dict[str, Any]:
    return {"verdict": draw(st.sampled_from(["error", "fail", "inconclusive"])), "detail": draw(_texts)}


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    """Any record that a setting may leave: with a score and the verdict that follows from it, or without."""
    task = draw(st.sampled_from(TASKS))
    setting = f"{task}[{draw(st.sampled_from(NAMES))}]"
    common = {
        "architecture": draw(_architectures),
        "detail": draw(_texts),
        "task_version": draw(st.sampled_from([1, 1, 1, 2])),
        "params": {"vocab_size": draw(st.sampled_from([16, 16, 32])), "mode": "fixed"},
        "recipe": draw(st.sampled_from(["00ff", "00ff", "ff00", ""])),
        "state_size": draw(st.none() | st.integers(0, 10**6)),
        "seconds": draw(st.floats(0, 1e6)),
        "seconds_per_step": draw(st.none() | st.floats(0, 1e6)),
        "metric": draw(st.sampled_from(["accuracy", "accuracy", "compat"])),
        "attempts": draw(st.lists(attempts(), max_size=2)),
    }
    if draw(st.integers(0, 3)) == 0:
        verdict = draw(st.sampled_from(["error", "fail", "skipped"]))
        return measured(setting, None, verdict=verdict, **common)
    found = draw(st.lists(_scores, min_size=1, max_size=3))
    baseline = draw(st.none() | lines())
    threshold = None if baseline else draw(st.none() | _shares)
    needed = baseline["floor"] if baseline else threshold
    telling = max(found) if baseline else min(found)
    failing = ["regress", "inconclusive"] if baseline else ["fail"]
    passing = ["pass", "pass", "slower"] if baseline else ["pass"]
    return measured(
        setting,
        telling,
        verdict=draw(st.sampled_from(passing if needed is None or telling >= needed else failing)),
        scores=[[seed, score] for seed, score in enumerate(found)],
        steps=[[seed, draw(st.none() | st.integers(10, 3000))] for seed, _ in enumerate(found)],
        mark=draw(st.none() | _shares),
        pace=draw(paces()) if baseline else None,
        slower=draw(st.sampled_from(["fail", "warn", "pass"])),
        baseline=baseline,
        threshold=threshold,
        tolerant=draw(st.booleans()),
        trials=draw(st.lists(trials(), max_size=2)),
        **common,
    )


@st.composite
def contracts(draw: st.DrawFn) -> dict[str, Any]:
    verdict = draw(st.sampled_from(["pass", "fail", "error", "skipped"]))
    detail = draw(_texts if verdict == "pass" else _texts.filter(bool))
    return contract(draw(st.sampled_from(["output", "causality", "own.one"])), verdict, detail, draw(_architectures))


@st.composite
def shards(draw: st.DrawFn) -> dict[str, Any]:
    """Some parts of a suite, but not all."""
    of = draw(st.integers(2, 9))
    parts = draw(st.sets(st.integers(1, of), min_size=1, max_size=of - 1))
    return {"suite": draw(st.sampled_from(["00ff", "ff00"])), "of": of, "parts": sorted(parts)}


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """The content of any result file."""
    records = draw(st.lists(results(), max_size=5)) + draw(st.lists(contracts(), max_size=4))
    torch = draw(st.sampled_from(["2.13.0+cpu", "2.13.1", "2.14.0", None]))
    preset = draw(st.sampled_from(["tiny", "tiny", "smoke"]))
    tasks = draw(st.dictionaries(st.sampled_from(TASKS), st.integers(1, 4)))
    return content(
        *records, preset=preset, preset_tasks=tasks, shards=draw(st.lists(shards(), max_size=2)), torch=torch
    )
