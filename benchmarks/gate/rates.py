"""Rates with exact intervals, and how often the gate flags an unchanged architecture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calibration.calibrate import identity, is_known, key
from pytest_mad.gate import Gate, draw_floor, false_alarm_bound, judge_baseline
from pytest_mad.presets.setting import Setting

#: How many single seeds of each reference architecture were recorded at most.
MOST_SEEDS = 1000


def at_most(successes: int, trials: int, p: float) -> float:
    """P(X <= successes) of a binomial."""
    return math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes + 1))


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a rate: the rates under which neither so few nor so many successes are rarer than 2.5 %.

    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"there must be 0 to {trials} successes of at least one trial, not {successes}")
    rare = (1 - confidence) / 2
    lowest = 0.0 if successes == 0 else _root(lambda p: 1 - at_most(successes - 1, trials, p) - rare)
    highest = 1.0 if successes == trials else _root(lambda p: rare - at_most(successes, trials, p))
    return lowest, highest


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from below 0 to above it is 0, by bisection of [0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def rate(successes: int, trials: int) -> dict[str, Any]:
    """A count of a total, its share and the 95 % interval; of nothing there is no rate."""
    if trials == 0:
        return {"count": 0, "of": 0, "share": None, "interval": None}
    low, high = clopper_pearson(successes, trials)
    return {
        "count": successes,
        "of": trials,
        "share": round(successes / trials, 6),
        "interval": [round(low, 6), round(high, 6)],
    }


def seeds_of(file: Path, setting: Setting) -> list[float]:
    """The normalised scores of the recorded seeds 0, 1, 2, ..., up to the first that is missing or out of date.

    A trial that ended in an error has the score 0: it flags its run against a threshold, and is one seed below the
    floor of a baseline.
    """
    trials = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
    scores: list[float] = []
    for seed in range(MOST_SEEDS):
        record = trials.get(key(setting, seed))
        if record is None or record["identity"] != identity(setting):
            break
        if not is_known(record, setting) and record["trials"]:  # ended by another budget
            break
        scores.append(record["normalized"] or 0.0)
    return scores


def groups(scores: Sequence[float], gate: Gate) -> list[Sequence[float]]:
    """The seeds behind the first B, in disjoint groups of n: each a run of the rule of its own."""
    starts = range(gate.baseline_seeds, len(scores) - gate.seeds + 1, gate.seeds)
    return [scores[start : start + gate.seeds] for start in starts]


def regresses(group: Sequence[float], baseline: Sequence[float], setting: Setting) -> bool:
    """Whether the rule flags these new seeds."""
    gate = setting.gate
    line = draw_floor(
        "recorded", "same", baseline, margin=gate.margin, most_seeds=gate.seeds, solved_at=setting.recipe.solved_at
    )
    return judge_baseline(group, line).outcome == "regress"


def chance_of_a_split(scores: Sequence[float], baseline_seeds: int, seeds: int, margin: float, top: float) -> float:
    """Of all ways to draw B recorded and n new seeds from these scores, the share that regresses.

    All n must lie below the floor, ``min(lowest of the B, top) - margin``. Counted over which of the scores is the
    lowest of the B: scores in ascending order, the i-th the first in the baseline, the n new ones from those of the
    lower i that lie below its floor.
    """
    ordered = sorted(scores)
    total = len(ordered)
    if total < baseline_seeds + seeds:
        raise ValueError(f"{total} scores cannot be split into {baseline_seeds} and {seeds}")
    flagged = 0
    for i, lowest in enumerate(ordered):
        below = sum(score < min(lowest, top) - margin for score in ordered[:i])
        flagged += math.comb(total - i - 1, baseline_seeds - 1) * math.comb(below, seeds)
    return flagged / (math.comb(total, baseline_seeds) * math.comb(total - baseline_seeds, seeds))


def of_setting(scores: Sequence[float], setting: Setting) -> dict[str, Any]:
    """Both rules on one architecture's seeds of one setting."""
    gate, threshold = setting.gate, setting.threshold
    assert threshold is not None
    tried = groups(scores, gate)
    flagged = sum(regresses(group, scores[: gate.baseline_seeds], setting) for group in tried)
    enough = len(scores) >= gate.baseline_seeds + gate.seeds
    top = setting.recipe.solved_at

    def split(margin: float, top: float) -> float | None:
        return chance_of_a_split(scores, gate.baseline_seeds, gate.seeds, margin, top) if enough else None

    return {
        "seeds": len(scores),
        "lowest": round(min(scores), 4) if scores else None,
        "threshold": rate(sum(score < threshold for score in scores), len(scores)),
        "baseline": rate(flagged, len(tried)),
        "baseline_bound": false_alarm_bound(gate.baseline_seeds, gate.seeds),
        "splits_without_margin": split(0.0, math.inf),
        "splits": split(gate.margin, top),
    }


def of_suite(scores: dict[str, list[float]], chosen: Sequence[Setting]) -> dict[str, Any]:
    """A run of all settings is flagged if one of them is: the k-th run takes the k-th seed, or group, of each."""
    shortest = min(len(scores[setting.id]) for setting in chosen)
    runs = min(len(groups(scores[setting.id], setting.gate)) for setting in chosen)
    below = [any(scores[s.id][seed] < (s.threshold or 0.0) for s in chosen) for seed in range(shortest)]
    flagged = [any(_group_regresses(scores[s.id], s, run) for s in chosen) for run in range(runs)]
    bound = math.fsum(false_alarm_bound(s.gate.baseline_seeds, s.gate.seeds) for s in chosen)
    return {"threshold": rate(sum(below), shortest), "baseline": rate(sum(flagged), runs), "baseline_bound": bound}


def _group_regresses(scores: Sequence[float], setting: Setting, run: int) -> bool:
    return regresses(groups(scores, setting.gate)[run], scores[: setting.gate.baseline_seeds], setting)


def false_alarms(folder: Path, architectures: Sequence[str], chosen: Sequence[Setting]) -> dict[str, Any]:
    """Per architecture with recorded seeds: every setting, and the suite."""
    found: dict[str, Any] = {}
    for name in architectures:
        file = folder / f"calibrate-smoke-{name}.json"
        scores = {setting.id: seeds_of(file, setting) for setting in chosen}
        if all(scores.values()):
            found[name] = {
                "settings": {setting.id: of_setting(scores[setting.id], setting) for setting in chosen},
                "suite": of_suite(scores, chosen),
            }
    return found
