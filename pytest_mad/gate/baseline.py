"""Baselines: normalised scores of recorded seeds, per architecture and setting, in a file that people review."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pytest_mad.common.errors import check_keys, require, suggestion
from pytest_mad.common.files import FileError, is_there, read_json
from pytest_mad.common.packages import HERE, minor

SCHEMA = 1
#: A score far below the trivial level is odd, one beyond this is no score.
_LARGEST_SCORE = 1000
_SHIPPED = HERE / "baselines"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SETTING = re.compile(r"[^\[\]]+\[[^\[\]]+\]")


class MissingEntryError(Exception):
    """A baseline has nothing to compare a setting with; the message is one line."""


class BaselineError(ValueError):
    """A baseline that does not fit this run; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was recorded for one setting of one architecture."""

    preset: str
    params: dict[str, Any]
    task_version: int
    #: digest of the recipe
    recipe: str
    #: minor version, e.g. 2.13
    torch: str
    #: device class: cpu or cuda
    device: str
    #: where counting began
    first_seed: int
    #: normalised test score of each seed, in order
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("preset", "recipe", "torch", "device"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "text")
        for name in ("task_version", "first_seed"):
            value = getattr(self, name)
            require(type(value) is int and 0 <= value < 2**63, name, value, "a whole number from 0 to below 2**63")
        require(isinstance(self.params, dict), "params", self.params, "an object")
        is_right = isinstance(self.scores, tuple) and len(self.scores) > 0 and all(map(_is_score, self.scores))
        require(
            is_right, "scores", self.scores, f"a list of at least one number from -{_LARGEST_SCORE} to {_LARGEST_SCORE}"
        )

    @property
    def next_seed(self) -> int:
        """The first that was not recorded."""
        return self.first_seed + len(self.scores)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"scores": list(self.scores)}

    @classmethod
    def from_json(cls, data: Any) -> Entry:
        """Raises a one-line ``ValueError``."""
        require(isinstance(data, dict), "it", data, "an object")
        names = [f.name for f in fields(cls)]
        check_keys(data, names, "key")
        missing = [name for name in names if name not in data]
        require(not missing, "it", sorted(data), f"an object with {', '.join(missing)}")
        scores = data["scores"]
        return cls(**data | {"scores": tuple(scores) if isinstance(scores, list) else scores})


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
        schema = content.get("schema")
        require(type(schema) is int and schema == SCHEMA, "schema", schema, str(SCHEMA))
        check_keys(content, ("schema", "architectures"), "key")
        architectures = content.get("architectures")
        require(isinstance(architectures, dict), "architectures", architectures, "an object")
        assert isinstance(architectures, dict)
        return {name: _settings(name, table) for name, table in architectures.items()}
    except ValueError as error:
        raise FileError(_short(f"is no baseline: {error}")) from None


def _settings(architecture: str, table: Any) -> dict[str, Entry]:
    require(_NAME.fullmatch(architecture) is not None, "an architecture", architecture, "named of A-Z a-z 0-9 _ . -")
    require(isinstance(table, dict), f"architecture {architecture}", table, "an object")
    return {setting: _entry(architecture, setting, data) for setting, data in table.items()}


def _entry(architecture: str, setting: str, data: Any) -> Entry:
    is_id = _SETTING.fullmatch(setting) is not None and setting.isprintable()
    require(is_id, "a setting", setting, "named as in task[baseline]")
    try:
        return Entry.from_json(data)
    except ValueError as error:
        raise ValueError(f"{architecture}, {setting}: {error}") from None


def check_fits(entry: Entry, setting: str, now: Mapping[str, Any]) -> None:
    """Raise :class:`BaselineError`, which names both, for an entry of another preset, parameters, version or recipe.

    ``now`` has what this run would record, by the names of :class:`Entry`.
    """
    for name, value in now.items():
        before = getattr(entry, name)
        if before != value:
            was, is_now = _differing(before, value) if isinstance(value, dict) else (before, value)
            raise BaselineError(f"{setting} was recorded with {name} {was!r}, but this run has {is_now!r}")


def check_new(entry: Entry, first_seed: int | None) -> None:
    """Raise :class:`BaselineError` for seeds that were recorded: repeating them says nothing about new ones."""
    if first_seed is not None and entry.first_seed <= first_seed < entry.next_seed:
        seeds = f"{entry.first_seed} to {entry.next_seed - 1}"
        raise BaselineError(f"seeds {seeds} are recorded, so --mad-first-seed={first_seed} is not new")


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


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_SCORE


def _short(message: str, longest: int = 300) -> str:
    """A wrong value may be a million entries long."""
    return message if len(message) <= longest else f"{message[:longest]}..."
