"""``--mad-json``: the result file. A run as JSON, and JSON of every schema so far as a run.

Above the settings of an architecture stands what all of them share, so a setting's own keys leave it out.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from pytest_mad.common.errors import suggestion
from pytest_mad.common.files import FileError, read_json
from pytest_mad.common.packages import version
from pytest_mad.common.records import Plain, WrongError, plain, record

from .result import ArchitectureResult, ContractResult, Environment, ItemResult, Run, SettingResult, Shards
from .upgrade import SCHEMA, named_objects, objects, upgrade

#: Keys of a setting, and of a contract, that stand above it in the file, and of a contract those that it leaves out.
_ABOVE_SETTING = ("architecture", "setting", "preset", "preset_tasks", "state_size")
_ABOVE_CONTRACT = ("architecture", "contract", "seconds", "stored")


def run_of(
    settings: Iterable[SettingResult],
    preset: str,
    contracts: Iterable[ContractResult] = (),
    command: str = "",
    *,
    cut_short: bool = False,
    shards: Iterable[Shards] = (),
) -> Run:
    """The run that these results make.

    ``command`` is what reproduces it. One that was ``cut_short``, by Ctrl-C or ``-x``, has no MAD scores; nor has
    one that ran only some ``shards`` of a suite.
    """
    shards = tuple(shards)
    measured: dict[str, list[SettingResult]] = defaultdict(list)
    checked: dict[str, list[ContractResult]] = defaultdict(list)
    for contract in contracts:
        checked[contract.architecture].append(contract)
    for result in settings:
        measured[result.architecture].append(result)
    counts = (one.preset_tasks for own in measured.values() for one in own if one.preset == preset)
    devices = sorted({result.device for own in measured.values() for result in own})
    partial = cut_short or bool(shards)
    names = sorted({*measured, *checked})
    return Run(
        preset=preset,
        preset_tasks=next(filter(None, counts), {}),
        command=command,
        cut_short=cut_short,
        shards=shards,
        environment=environment(devices),
        architectures={name: architecture_of(measured[name], checked[name], partial=partial) for name in names},
    )


def environment(devices: list[str]) -> Environment:
    """Where this process measures, on these devices."""
    return Environment(
        torch=version("torch"),
        python=platform.python_version(),
        device=", ".join(devices),
        plugin=version("pytest-mad"),
    )


class Scores(NamedTuple):
    """Means over the settings of each task, then over tasks."""

    #: by the metric of the recipes, as is the MAD score
    tasks: dict[str, float]
    mad_score: float | None = None
    #: the MAD score by either metric, whichever is published
    accuracy: float | None = None
    compat: float | None = None
    normalized: float | None = None


def scores(settings: Iterable[SettingResult], *, partial: bool = False) -> Scores:
    """Task scores and MAD scores.

    There is no MAD score when a setting that was not skipped has none, or was not reached: leaving out what failed
    would raise the mean.
    """
    asked = [result for result in settings if result.verdict != "skipped" or result.normalized is not None]
    found = [result for result in asked if result.published is not None and result.normalized is not None]
    tasks = _task_means(found, lambda result: result.published)
    if partial or not found or len(found) < len(asked):
        return Scores(tasks)
    return Scores(
        tasks,
        mad_score=mean(tasks.values()),
        accuracy=_mean(found, lambda result: result.accuracy),
        compat=_mean(found, lambda result: result.accuracy_compat),
        normalized=_mean(found, lambda result: result.normalized),
    )


def _mean(settings: Iterable[SettingResult], value: Callable[[SettingResult], float | None]) -> float | None:
    """Over tasks; None where a setting lacks the value."""
    settings = list(settings)
    if any(value(result) is None for result in settings):
        return None
    return mean(_task_means(settings, value).values())


def _task_means(settings: Iterable[SettingResult], value: Callable[[SettingResult], float | None]) -> dict[str, float]:
    by_task: dict[str, list[float]] = defaultdict(list)
    for result in settings:
        number = value(result)
        if number is not None:
            by_task[result.task].append(number)
    return {task: mean(numbers) for task, numbers in by_task.items()}


def architecture_of(
    settings: Iterable[SettingResult], contracts: Iterable[ContractResult] = (), *, partial: bool = False
) -> ArchitectureResult:
    """Everything that was measured of one architecture; ``partial`` where results are missing."""
    own: dict[str, SettingResult] = {}
    for result in settings:
        # The suite and a user's test may measure the same setting; the worse verdict must not get lost.
        if result.setting not in own or result.verdict != "pass":
            own[result.setting] = result
    found = scores(own.values(), partial=partial)
    return ArchitectureResult(
        parameters=max((s.parameters for s in own.values() if s.parameters is not None), default=None),
        state_size=max((s.state_size for s in own.values() if s.state_size is not None), default=None),
        task_scores=found.tasks,
        mad_score=found.mad_score,
        mad_score_accuracy=found.accuracy,
        mad_score_compat=found.compat,
        mad_score_normalized=found.normalized,
        contracts={contract.contract: contract for contract in contracts},
        settings=own,
    )


# -- JSON -----------------------------------------------------------------------------------------------------------


def to_json(run: Run) -> dict[str, Plain]:
    """The content of a run's result file."""
    content: dict[str, Plain] = {"schema": SCHEMA} | plain(run)
    for setting in objects(content, "architectures", "settings"):
        _drop(setting, _ABOVE_SETTING)
    for contract in objects(content, "architectures", "contracts"):
        _drop(contract, _ABOVE_CONTRACT)
    return content


def _drop(found: dict[str, Plain], keys: Iterable[str]) -> None:
    for key in keys:
        del found[key]


def read_results(path: Path) -> Run:
    """The run in a result file of any schema so far. Nothing in the file is run.

    Raises :class:`~pytest_mad.common.files.FileError` with one line, without the file's name, that says what is wrong
    and where.
    """
    content = read_json(path)
    try:
        return run_from(content)
    except WrongError as wrong:
        raise FileError(str(wrong)) from None


def run_from(content: dict[str, Plain]) -> Run:
    """The run that such a content stands for, which is used up. Raises ``WrongError``."""
    upgrade(content)
    _place_all(content)
    return record(Run, {key: value for key, value in content.items() if key != "schema"})


def _place(found: dict[str, Plain], cls: type, above: dict[str, Plain], *keys: str) -> None:
    """Give a setting or contract what the file says above it."""
    known = [field.name for field in fields(cls) if field.name not in above]
    for key in found:
        if key not in known:
            raise WrongError(f"has an unknown key {key[:60]!r}; {suggestion(key[:60], known)}", *keys)
    found |= above


def _place_all(content: dict[str, Plain]) -> None:
    """All that are objects; what is none, the record's own checks will say."""
    for (_, name), one in named_objects(content, "architectures"):
        shared = {key: content.get(key) for key in ("preset", "preset_tasks")}
        shared["state_size"] = one.get("state_size")
        for (_, setting), found in named_objects(one, "settings"):
            above = {"architecture": name, "setting": setting, **shared}
            _place(found, SettingResult, above, "architectures", name, "settings", setting)
        for (_, contract), found in named_objects(one, "contracts"):
            above = {"architecture": name, "contract": contract, "seconds": 0.0, "stored": False}
            _place(found, ContractResult, above, "architectures", name, "contracts", contract)


def item_result(data: dict[str, Plain]) -> ItemResult:
    """The record of one item, as it travels on its report."""
    return record(ContractResult, data) if "contract" in data else record(SettingResult, data)
