"""``--mad-json``: the result file. A run as JSON, and JSON of every schema so far as a run.

Above the settings of an architecture stands what all of them share, so a setting's own keys leave it out.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from statistics import mean

from pytest_mad.common.errors import suggestion
from pytest_mad.common.files import FileError, read_json
from pytest_mad.common.packages import version
from pytest_mad.common.records import Plain, WrongError, plain, record

from .result import ArchitectureResult, ContractResult, Environment, ItemResult, Run, SettingResult, Shards
from .upgrade import SCHEMA, named_objects, objects, upgrade

#: Keys of a setting, and of a contract, that stand above it in the file, and of a contract those that it leaves out.
_ABOVE_SETTING = ("architecture", "setting", "preset", "parameters", "state_size")
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
    by_architecture: dict[str, dict[str, SettingResult]] = defaultdict(dict)
    checked: dict[str, dict[str, ContractResult]] = defaultdict(dict)
    for contract in contracts:
        checked[contract.architecture][contract.contract] = contract
    for result in settings:
        own = by_architecture[result.architecture]
        # The suite and a user's test may measure the same setting; the worse verdict must not get lost.
        if result.setting not in own or result.verdict != "pass":
            own[result.setting] = result
    devices = sorted({r.device for own in by_architecture.values() for r in own.values()})
    partial = cut_short or bool(shards)
    names = sorted({*by_architecture, *checked})
    return Run(
        preset=preset,
        command=command,
        cut_short=cut_short,
        shards=shards,
        environment=environment(devices),
        architectures={name: _architecture(by_architecture[name], checked[name], partial=partial) for name in names},
    )


def environment(devices: list[str]) -> Environment:
    """Where this process measures, on these devices."""
    return Environment(
        torch=version("torch"),
        python=platform.python_version(),
        device=", ".join(devices),
        plugin=version("pytest-mad"),
    )


def scores(
    settings: Iterable[SettingResult], *, partial: bool = False
) -> tuple[dict[str, float], float | None, float | None]:
    """Task scores, MAD score and its normalised twin: means over settings, then over tasks.

    There is no MAD score when a setting that was not skipped has none, or was not reached: leaving out what failed
    would raise the mean.
    """
    raw, normalized = defaultdict(list), defaultdict(list)
    is_complete = not partial
    for result in settings:
        if result.accuracy is not None and result.normalized is not None:
            raw[result.task].append(result.accuracy)
            normalized[result.task].append(result.normalized)
        elif result.verdict != "skipped":
            is_complete = False
    task_scores = {task: mean(values) for task, values in raw.items()}
    if not task_scores or not is_complete:
        return task_scores, None, None
    return task_scores, mean(task_scores.values()), mean(map(mean, normalized.values()))


def _architecture(
    settings: Mapping[str, SettingResult], contracts: Mapping[str, ContractResult], *, partial: bool
) -> ArchitectureResult:
    task_scores, mad_score, mad_score_normalized = scores(settings.values(), partial=partial)
    return ArchitectureResult(
        parameters=max((s.parameters for s in settings.values() if s.parameters is not None), default=None),
        state_size=max((s.state_size for s in settings.values() if s.state_size is not None), default=None),
        task_scores=task_scores,
        mad_score=mad_score,
        mad_score_normalized=mad_score_normalized,
        contracts=contracts,
        settings=settings,
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
        shared = {"preset": content.get("preset"), **{key: one.get(key) for key in ("parameters", "state_size")}}
        for (_, setting), found in named_objects(one, "settings"):
            above = {"architecture": name, "setting": setting, **shared}
            _place(found, SettingResult, above, "architectures", name, "settings", setting)
        for (_, contract), found in named_objects(one, "contracts"):
            above = {"architecture": name, "contract": contract, "seconds": 0.0, "stored": False}
            _place(found, ContractResult, above, "architectures", name, "contracts", contract)


def item_result(data: dict[str, Plain]) -> ItemResult:
    """The record of one item, as it travels on its report."""
    return record(ContractResult, data) if "contract" in data else record(SettingResult, data)
