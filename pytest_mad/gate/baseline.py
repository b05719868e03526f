"""Baselines: normalised scores of recorded seeds, per architecture and setting, in a file that people review."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pytest_mad.common.errors import suggestion
from pytest_mad.common.files import FileError, is_there, read_json
from pytest_mad.common.packages import HERE, minor
from pytest_mad.common.records import (
    Between,
    Named,
    Positive,
    Score,
    Share,
    WrongError,
    at,
    check_of,
    record,
    require,
)
from pytest_mad.common.text import NAME

SCHEMA = 2
_SHIPPED = HERE / "baselines"
_Architecture = Annotated[str, Named(NAME, "names have letters, digits and _.- only")]
_Setting = Annotated[str, Named(re.compile(r"[^\[\]]+\[[^\[\]]+\]"), "settings are named task[baseline]")]
_Step = Annotated[int, Between(1)]
_Whole = Annotated[int, Between(0, 2**63 - 1)]


class MissingEntryError(Exception):
    """A baseline has nothing to compare a setting with; the message is one line."""


class BaselineError(ValueError):
    """A baseline that does not fit this run; the message is one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class First:
    """What an entry held when it was first recorded, under the same parameters and recipe."""

    #: as those of :class:`Entry`
    scores: tuple[Score, ...]
    mark: Share | None
    steps: tuple[_Step | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What was recorded for one setting of one architecture."""

    preset: str
    params: dict[str, Any]
    task_version: _Whole
    #: digest of the recipe
    recipe: str
    #: minor version, e.g. 2.13
    torch: str
    #: device class: cpu or cuda
    device: str
    #: where counting began
    first_seed: _Whole
    #: normalised test score of each seed, in order
    scores: tuple[Score, ...]
    #: the normalised score from which the setting counted as learned; null where nothing said
    mark: Share | None
    #: of each seed the steps to the mark at the recipe's first point; null where it was not reached
    steps: tuple[_Step | None, ...]
    #: median over the seeds; null where nobody measured
    seconds_per_step: Positive | None
    #: what stood here first; null where that is this entry
    first: First | None

    def __post_init__(self) -> None:
        require(len(self.scores) > 0, [], "a list of at least one number", "scores")
        fits = len(self.steps) == (0 if self.mark is None else len(self.scores))
        require(fits, list(self.steps), "one number or null for each score, or none without a mark", "steps")

    @property
    def next_seed(self) -> int:
        """The first that was not recorded."""
        return self.first_seed + len(self.scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The content of a baseline file."""

    schema: Literal[2]
    architectures: Mapping[_Architecture, Mapping[_Setting, Entry]]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The entries of a file by architecture and setting."""

    #: its file, or the name of a shipped one
    source: str
    entries: Mapping[str, Mapping[str, Entry]]
    is_shipped: bool = False

    def find(self, architecture: str, setting: str) -> tuple[str, Entry] | None:
        """The entry and whose it is. A shipped baseline is one architecture's, and compared with any."""
        name = next(iter(self.entries)) if self.is_shipped else architecture
        entry = self.entries.get(name, {}).get(setting)
        return None if entry is None else (name, entry)


def shipped_baselines() -> list[str]:
    """Names of the baselines that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def load_baseline(name: str, directory: Path) -> Baseline:
    """A shipped baseline by its name, or that of a file, relative to ``directory``.

    Raises :class:`~pytest_mad.common.files.FileError` in one line.
    """
    if name in shipped_baselines():
        return Baseline(source=name, entries=read_entries(_SHIPPED / f"{name}.json"), is_shipped=True)
    path = directory / name
    if not is_there(path):
        hint = "" if path.suffix else f"; {suggestion(name, shipped_baselines())}"
        raise FileError(f"there is no such file, nor a baseline of this name that comes with the package{hint}")
    return Baseline(source=name, entries=read_entries(path))


def read_entries(path: Path) -> dict[str, dict[str, Entry]]:
    """The entries of a baseline file; :class:`~pytest_mad.common.files.FileError` in one line for any other file."""
    content = read_json(path)
    if "preset" in content:
        raise FileError("is a result file of --mad-json, not a baseline")
    try:
        if "schema" in content:  # which says what the other keys are
            _check_schema(content["schema"])
        found = record(_File, content)
    except WrongError as wrong:
        raise FileError(f"is no baseline: {wrong}") from None
    return {name: dict(entries) for name, entries in found.architectures.items()}


def _check_schema(found: Any) -> None:
    if type(found) is int and found == 1:
        again = "delete it and record it anew, with --mad-update-baseline in place of --mad-baseline"
        raise FileError(f"is a baseline of schema 1, without steps to the mark; {again}")
    at("schema", check_of(Literal[2]), found)


def check_fits(entry: Entry, setting: str, now: Mapping[str, Any], hint: str = "") -> None:
    """Raise :class:`BaselineError`, which names both, for an entry of another preset, parameters, version or recipe.

    ``now`` has what this run would record, by the names of :class:`Entry`; ``hint`` is added to the message.
    """
    for name, value in now.items():
        before = getattr(entry, name)
        if before != value:
            was, is_now = _differing(before, value) if isinstance(value, dict) else (before, value)
            raise BaselineError(f"{setting} was recorded with {name} {was!r}, but this run has {is_now!r}{hint}")


def check_new(entry: Entry, first_seed: int | None, most: int = 1) -> None:
    """Raise :class:`BaselineError` for seeds that were recorded: repeating them says nothing about new ones.

    Counting from ``first_seed``, up to ``most`` seeds are tried.
    """
    if first_seed is None or first_seed >= entry.next_seed or first_seed + most <= entry.first_seed:
        return
    seeds = f"{entry.first_seed} to {entry.next_seed - 1}"
    new = "is not new" if first_seed >= entry.first_seed else f"and up to {most} seeds run into them"
    raise BaselineError(f"seeds {seeds} are recorded, so --mad-first-seed={first_seed} {new}")


def _differing(before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two sets of parameters only those that are not the same."""
    names = [name for name in {**now, **before} if name not in before or name not in now or before[name] != now[name]]
    was, is_now = ({name: one[name] for name in names if name in one} for one in (before, now))
    return was, is_now


def another_machine(entry: Entry, *, torch: str, device: str) -> str | None:
    """What of the environment differs so that equal scores are not promised, in one line."""
    if (entry.torch, entry.device) == (minor(torch), device):
        return None
    return f"recorded with torch {entry.torch} on {entry.device}, compared with torch {minor(torch)} on {device}"
