"""Recording a baseline: entries from results, merged into the file that is there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pytest_mad.common.files import FileError, write_text
from pytest_mad.common.packages import minor, version
from pytest_mad.common.records import plain

from .baseline import SCHEMA, Entry, First, read_entries
from .speed import Bounds, ratio

#: Settings of an architecture that are named where a line says what was recorded.
_MOST_NAMED = 8


class Measured(Protocol):
    """What a baseline records of a setting's result."""

    @property
    def architecture(self) -> str: ...
    @property
    def setting(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def task_version(self) -> int: ...
    @property
    def recipe(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def scores(self) -> tuple[tuple[int, float], ...]:
        """Seed and normalised score."""

    @property
    def mark(self) -> float | None: ...
    @property
    def steps(self) -> tuple[tuple[int, int | None], ...]:
        """Seed and steps to the mark."""

    @property
    def seconds_per_step(self) -> float | None: ...


def merged(
    old: Mapping[str, Mapping[str, Entry]], new: Mapping[str, Mapping[str, Entry]]
) -> dict[str, dict[str, Entry]]:
    """All entries of both; where both have one, the new, which keeps what stood there first."""
    names = sorted({*old, *new})
    return {name: _joined(old.get(name, {}), new.get(name, {})) for name in names}


def _joined(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> dict[str, Entry]:
    renewed = {name: replace(entry, first=first_of(old[name], entry)) for name, entry in new.items() if name in old}
    return {**old, **new, **renewed}


def first_of(old: Entry, new: Entry) -> First | None:
    """What a new entry remembers of the one that it replaces; None where the two cannot be compared."""
    if any(getattr(old, name) != getattr(new, name) for name in ("preset", "params", "task_version", "recipe", "mark")):
        return None
    return old.first or First(scores=old.scores, mark=old.mark, steps=old.steps)


def drift(old: Mapping[str, Mapping[str, Entry]], new: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """A line per setting that had steps before: how they changed since then, and since the first recording."""
    lines = []
    for name, table in new.items():
        for setting, entry in table.items():
            before = old.get(name, {}).get(setting)
            if before and before.steps and first_of(before, entry):
                since = "" if before.first is None else f", {_times(entry.steps, before.first.steps)} in the first"
                last = _times(entry.steps, before.steps)
                lines.append(f"  {name}, {setting}: {last} as many steps to {entry.mark:g} as before{since}")
    return lines


def _times(new: Sequence[int | None], old: Sequence[int | None]) -> str:
    """``1.52 (1.20 to 1.90) times, slower,`` with the word where the interval says so."""
    found = ratio([Bounds(0, math.inf) if one is None else Bounds(one, one) for one in new], old)
    middle = f"{found.low_median:.2f}" if found.low_median == found.high_median else f"at least {found.low_median:.2f}"
    word = "slower, " if found.low > 1 else "faster, " if found.high < 1 else ""
    return f"{word}{middle} ({found.low:.2f} to {found.high:.2f}) times"


def doubts(old: Mapping[str, Mapping[str, Entry]], new: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """A line per new entry that asks for less than the old one did, or for nothing that guessing would not reach."""
    lines = []
    for name, table in new.items():
        for setting, entry in table.items():
            lowest, before = min(entry.scores), old.get(name, {}).get(setting)
            if before and lowest < min(before.scores):
                lines.append(f"  lower than before: {name}, {setting}: {min(before.scores):.3f} -> {lowest:.3f}")
            elif lowest <= 0:
                lines.append(f"  asks for nothing: {name}, {setting}: {lowest:.3f}, no better than guessing")
    return lines


def write_entries(path: Path, entries: Mapping[str, Mapping[str, Entry]]) -> None:
    """One line per setting, so that a diff can be reviewed; whole or not at all."""
    write_text(path, entries_text(entries))


def entries_text(entries: Mapping[str, Mapping[str, Entry]]) -> str:
    architectures = ",\n".join(
        f"  {json.dumps(name)}: {{\n{_lines(entries[name])}\n  }}" for name in sorted(entries) if entries[name]
    )
    return f'{{\n "schema": {SCHEMA},\n "architectures": {{\n{architectures}\n }}\n}}\n'


def _lines(settings: Mapping[str, Entry]) -> str:
    texts = ((json.dumps(name), json.dumps(plain(settings[name]), sort_keys=True)) for name in sorted(settings))
    return ",\n".join(f"   {name}: {entry}" for name, entry in texts)


def finished(results: Iterable[Measured]) -> list[Measured]:
    """The results of a recording whose seeds are all there."""
    return [r for r in results if r.scores and r.verdict not in ("error", "inconclusive", "skipped")]


def ambiguous(results: Iterable[Measured]) -> set[tuple[str, str]]:
    """Settings that stand twice with different scores: of two models, or presets, that have one name."""
    found: dict[tuple[str, str], object] = {}
    twice = set()
    for result in finished(results):
        name = result.architecture, result.setting
        measured = result.preset, result.recipe, result.params, result.scores, result.steps
        if found.setdefault(name, measured) != measured:
            twice.add(name)
    return twice


def recorded(results: Iterable[Measured], torch: str) -> dict[str, dict[str, Entry]]:
    """Entries from the results of a recording; none for a setting that did not finish, or is ambiguous."""
    results = list(results)
    unclear = ambiguous(results)
    entries: dict[str, dict[str, Entry]] = {}
    for result in finished(results):
        if (result.architecture, result.setting) not in unclear:
            entries.setdefault(result.architecture, {})[result.setting] = Entry(
                preset=result.preset,
                params=result.params,
                task_version=result.task_version,
                recipe=result.recipe,
                torch=minor(torch),
                device=result.device,
                first_seed=result.scores[0][0],
                scores=tuple(_shortened(score) for _, score in result.scores),
                mark=None if result.mark is None else _shortened(result.mark),
                steps=tuple(steps for _, steps in result.steps),
                seconds_per_step=result.seconds_per_step,
                first=None,
            )
    return entries


def _shortened(score: float) -> float:
    """Six digits, rounded down: the same seed must never fall below its own record."""
    return math.floor(score * 1e6) / 1e6


def update_baseline(path: Path, results: Sequence[Measured]) -> list[str]:
    """Merge what was recorded into the baseline, as it is by now; a setting that did not finish keeps its old entry.

    Returns what to say of it: how much was recorded, and what a reviewer should look at twice.
    """
    entries, unclear = recorded(results, version("torch") or ""), ambiguous(results)
    old = read_entries(path) if path.exists() else {}
    if entries:
        write_entries(path, merged(old, entries))
    for architecture, setting in sorted(unclear):
        raise FileError(f"{architecture}, {setting} was measured twice with different scores, so it is not recorded")
    return [said(path, entries, len(results)), *drift(old, entries), *doubts(old, entries)]


def said(path: Path, entries: Mapping[str, Mapping[str, Entry]], asked: int) -> str:
    """One line about what was recorded: in which file, of which architectures, with which seeds, and which settings."""
    count = sum(map(len, entries.values()))
    if not count:
        return f"nothing was recorded in {path}"
    alike: dict[tuple[str, str], list[str]] = {}
    for name, own in entries.items():
        for setting, entry in own.items():
            alike.setdefault((name, _seeds(entry)), []).append(setting.removesuffix("[baseline]"))
    told = (f"{name}, {seeds}: {_some(settings)}" for (name, seeds), settings in alike.items())
    return f"{count} of {asked} settings recorded in {path}: {'; '.join(told)}"


def _seeds(entry: Entry) -> str:
    first, last = entry.first_seed, entry.next_seed - 1
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def _some(names: Sequence[str]) -> str:
    """All names, or so many as one reads, and the number of the others."""
    rest = len(names) - _MOST_NAMED
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:_MOST_NAMED])} and {rest} more"
