"""Settings and presets. A preset is a TOML file; this module turns it into settings and says what is wrong with it."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .tasks import Task, TaskParams, UnknownTaskError, get_task, task_names
from .training.recipe import Recipe, check_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PRESETS = Path(__file__).with_name("presets")
_PRESET_KEYS = ["schema", "description", "width", "recipe", "tasks"]
_TASK_KEYS = ["baseline", "vary", "threshold", "thresholds", "recipe", "cost"]


class PresetError(ValueError):
    """A preset, task or setting that does not exist or is malformed; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task with concrete parameters: one cell of the difficulty grid."""

    task: str
    #: ``baseline``, or the one parameter that differs from it: ``vocab_size=32``
    name: str
    params: TaskParams
    recipe: Recipe
    #: normalised score to reach, or none
    threshold: float | None = None
    preset: str = ""
    #: width of models that the plugin builds itself (``--mad-layers``, ``--mad-mixer``)
    width: int = 128
    #: rough seconds, for the order of items only
    cost: float = 1.0

    @property
    def id(self) -> str:
        """E.g. ``in-context-recall[vocab_size=32]``; it stands in node ids, files and reports."""
        return f"{self.task}[{self.name}]"

    @property
    def family(self) -> Task[Any]:
        """The task itself."""
        return get_task(self.task)

    @cached_property
    def oracle(self) -> float:
        return self.family.oracle(self.params)

    @cached_property
    def trivial(self) -> float:
        return self.family.trivial(self.params)

    def normalized(self, accuracy: float) -> float:
        """``(accuracy - trivial) / (oracle - trivial)``: 0 for the strongest guess, 1 for the best possible."""
        return (accuracy - self.trivial) / (self.oracle - self.trivial)


def settings(preset: str = "smoke") -> dict[str, Setting]:
    """The settings of a preset by id, in its order. ``preset`` is a shipped name or the path of a ``.toml`` file.

    Raises :class:`PresetError` with one line that says what is wrong.
    """
    name, path = _find(preset)
    try:
        return {s.id: s for s in _read(name, path)}
    except (ValueError, TypeError, OSError) as error:
        raise PresetError(f"preset {preset}: {error}") from error


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(p.stem for p in _PRESETS.glob("*.toml"))


def select(chosen: dict[str, Setting], tasks: list[str]) -> dict[str, Setting]:
    """The settings of the given tasks only; :class:`PresetError` for a task that is unknown or not in the preset."""
    for name in tasks:
        get_task(name)
        if all(s.task != name for s in chosen.values()):
            present = ", ".join(dict.fromkeys(s.task for s in chosen.values()))
            raise PresetError(f"task {name!r} is not in this preset, which has: {present}")
    return {i: s for i, s in chosen.items() if s.task in tasks}


def with_threshold(chosen: dict[str, Setting], where: str | None, threshold: float) -> dict[str, Setting]:
    """Settings with another threshold: all of them, or those of a task, or the one with the given id."""
    hits = [i for i, s in chosen.items() if where is None or where in (s.task, i)]
    if not hits:
        names = [*dict.fromkeys(s.task for s in chosen.values()), *chosen]
        near = difflib.get_close_matches(str(where), names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise PresetError(f"no task or setting {where!r} here; {hint}")
    number = _threshold(threshold)
    return {i: replace(s, threshold=number) if i in hits else s for i, s in chosen.items()}


def _find(preset: str) -> tuple[str, Path]:
    """Name and path of a preset."""
    if preset in preset_names():
        return preset, _PRESETS / f"{preset}.toml"
    path = Path(preset)
    if path.suffix == ".toml":
        if not path.is_file():
            raise PresetError(f"preset file {preset} does not exist")
        return path.stem, path
    near = difflib.get_close_matches(preset, preset_names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped presets: {', '.join(preset_names())}"
    raise PresetError(f"unknown preset {preset!r}; {hint}, or a path that ends in .toml")


def _read(name: str, path: Path) -> list[Setting]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    check_keys(data, _PRESET_KEYS, "key")
    if data.get("schema") != 1:
        raise ValueError(f"schema is {data.get('schema')!r}, but must be 1")
    tables = data.get("tasks", {})
    if not isinstance(tables, dict) or not tables:
        raise ValueError("no [tasks.NAME] table; known tasks: " + ", ".join(task_names()))
    return [
        setting
        for task, table in tables.items()
        for setting in _task_settings(name, task, table, data.get("recipe", {}), data.get("width", 128))
    ]


def _task_settings(preset: str, task: str, table: Any, recipe: dict[str, Any], width: int) -> list[Setting]:
    """Baseline first, then each varied value: one parameter at a time, as in MAD."""
    try:
        get_task(task)
        if not isinstance(table, dict):
            raise ValueError(f"is {table!r}, but must be a table")
        check_keys(table, _TASK_KEYS, "key")
        baseline = table.get("baseline", {})
        vary = table.get("vary", {})
        changes: list[tuple[str, dict[str, Any]]] = [("baseline", {})]
        changes += [(f"{key}={value}", {key: value}) for key, values in vary.items() for value in values]
        thresholds = table.get("thresholds", {})
        check_keys(thresholds, [name for name, _ in changes], "setting")
        own_recipe = Recipe.from_json(recipe | table.get("recipe", {}))
        return [
            Setting(
                task=task,
                name=name,
                params=_params(task, baseline | change),
                recipe=own_recipe,
                threshold=_threshold(thresholds.get(name, table.get("threshold"))),
                preset=preset,
                width=width,
                cost=float(table.get("cost", 1.0)),
            )
            for name, change in changes
        ]
    except UnknownTaskError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"[tasks.{task}]: {error}") from error


def _params(task: str, values: dict[str, Any]) -> TaskParams:
    cls = get_task(task).Params
    check_keys(values, [f.name for f in fields(cls)], "parameter")
    defaults = {f.name: f.default for f in fields(cls)}
    for key, value in values.items():
        expected = type(defaults[key])
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise ValueError(f"{key} is {value!r}, but must be of type {expected.__name__}")
    return cls(**values)


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"threshold is {value!r}, but must be a number from 0 to 1")
    return float(value)
