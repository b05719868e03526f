"""``--mad-json``: the result file (design: schema 1)."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable
from statistics import mean
from typing import Any

from pytest_mad.common.packages import version

SCHEMA = 1
#: Keys that stand with the architecture instead of with each of its settings.
_OF_ARCHITECTURE = ("architecture", "setting", "parameters", "state_size", "preset")


def result_file(
    records: Iterable[dict[str, Any]],
    preset: str,
    contracts: Iterable[dict[str, Any]] = (),
    command: str = "",
    *,
    cut_short: bool = False,
    shards: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The content of a result file; records are ``Result.to_json()``, contracts ``ContractResult.to_json()``.

    ``command`` is what reproduces the run. One that was ``cut_short``, by Ctrl-C or ``-x``, has no MAD scores; nor has
    one that ran only some ``shards`` of a suite.
    """
    shards = list(shards)
    by_architecture: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    checked: dict[str, dict[str, Any]] = defaultdict(dict)
    for contract in contracts:
        said = {"verdict": contract["verdict"], "detail": contract["detail"]}
        checked[contract["architecture"]][contract["contract"]] = said
    for record in records:
        own = by_architecture[record["architecture"]]
        # The suite and a user's test may measure the same setting; the worse verdict must not get lost.
        if record["setting"] not in own or record["verdict"] != "pass":
            own[record["setting"]] = record
    devices = sorted({r["device"] for settings in by_architecture.values() for r in settings.values()})
    return {
        "schema": SCHEMA,
        "preset": preset,
        "command": command,
        "cut_short": cut_short,
        "shards": shards,
        "environment": environment(devices),
        "architectures": {
            name: _architecture(by_architecture[name], checked[name], cut_short or bool(shards))
            for name in sorted({*by_architecture, *checked})
        },
    }


def environment(devices: list[str]) -> dict[str, Any]:
    """What scores may depend on."""
    return {
        "torch": version("torch"),
        "python": platform.python_version(),
        "device": ", ".join(devices),
        "plugin": version("pytest-mad"),
    }


def scores(
    records: Iterable[dict[str, Any]], *, partial: bool = False
) -> tuple[dict[str, float], float | None, float | None]:
    """Task scores, MAD score and its normalised twin: means over settings, then over tasks.

    There is no MAD score when a setting that was not skipped has none, or was not reached: leaving out what failed
    would raise the mean.
    """
    raw, normalized = defaultdict(list), defaultdict(list)
    is_complete = not partial
    for record in records:
        if record["accuracy"] is not None:
            raw[record["task"]].append(record["accuracy"])
            normalized[record["task"]].append(record["normalized"])
        elif record["verdict"] != "skipped":
            is_complete = False
    task_scores = {task: mean(values) for task, values in raw.items()}
    if not task_scores or not is_complete:
        return task_scores, None, None
    return task_scores, mean(task_scores.values()), mean(map(mean, normalized.values()))


def _architecture(settings: dict[str, dict[str, Any]], contracts: dict[str, Any], partial: bool) -> dict[str, Any]:
    task_scores, mad_score, mad_score_normalized = scores(settings.values(), partial=partial)
    sizes = [s["parameters"] for s in settings.values() if s["parameters"] is not None]
    states = [s["state_size"] for s in settings.values() if s["state_size"] is not None]
    return {
        "parameters": max(sizes, default=None),
        "state_size": max(states, default=None),
        "task_scores": task_scores,
        "mad_score": mad_score,
        "mad_score_normalized": mad_score_normalized,
        "contracts": contracts,
        "settings": {name: _setting(record) for name, record in settings.items()},
    }


def _setting(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in _OF_ARCHITECTURE}
