"""Recording a baseline: entries from results, merged into the file that is there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_mad.common.files import FileError, write_text
from pytest_mad.common.packages import minor, version

from .baseline import SCHEMA, Entry, read_entries


def merged(
    old: Mapping[str, Mapping[str, Entry]], new: Mapping[str, Mapping[str, Entry]]
) -> dict[str, dict[str, Entry]]:
    """All entries of both; where both have one, the new."""
    names = sorted({*old, *new})
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in names}


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
    texts = ((json.dumps(name), json.dumps(settings[name].to_json(), sort_keys=True)) for name in sorted(settings))
    return ",\n".join(f"   {name}: {entry}" for name, entry in texts)


def finished(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results of a recording whose seeds are all there, ``Result.to_json()``."""
    return [r for r in records if r["scores"] and r["verdict"] not in ("error", "inconclusive", "skipped")]


def ambiguous(records: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Settings that stand twice with different scores: of two models, or presets, that have one name."""
    found: dict[tuple[str, str], Any] = {}
    twice = set()
    for record in finished(records):
        name = record["architecture"], record["setting"]
        measured = record["preset"], record["recipe"], record["params"], record["scores"]
        if found.setdefault(name, measured) != measured:
            twice.add(name)
    return twice


def recorded(records: Iterable[Mapping[str, Any]], torch: str) -> dict[str, dict[str, Entry]]:
    """Entries from the results of a recording; none for a setting that did not finish, or is ambiguous."""
    records = list(records)
    unclear = ambiguous(records)
    entries: dict[str, dict[str, Entry]] = {}
    for record in finished(records):
        if (record["architecture"], record["setting"]) not in unclear:
            entries.setdefault(record["architecture"], {})[record["setting"]] = Entry(
                preset=record["preset"],
                params=record["params"],
                task_version=record["task_version"],
                recipe=record["recipe"],
                torch=minor(torch),
                device=record["device"],
                first_seed=int(record["scores"][0][0]),
                scores=tuple(_shortened(score) for _, score in record["scores"]),
            )
    return entries


def _shortened(score: float) -> float:
    """Six digits, rounded down: the same seed must never fall below its own record."""
    return math.floor(score * 1e6) / 1e6


def update_baseline(path: Path, records: list[dict[str, Any]]) -> list[str]:
    """Merge what was recorded into the baseline, as it is by now; a setting that did not finish keeps its old entry.

    Returns what to say of it: how much was recorded, and what a reviewer should look at twice.
    """
    entries, unclear = recorded(records, version("torch") or ""), ambiguous(records)
    old = read_entries(path) if path.exists() else {}
    if entries:
        write_entries(path, merged(old, entries))
    for architecture, setting in sorted(unclear):
        raise FileError(f"{architecture}, {setting} was measured twice with different scores, so it is not recorded")
    count = sum(map(len, entries.values()))
    said = f"{count} of {len(records)} settings recorded in {path}" if count else "nothing was recorded"
    return [said, *doubts(old, entries)]
