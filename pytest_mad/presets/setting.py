"""A setting: a task with concrete parameters, its recipe and its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pytest_mad.common.errors import require, suggestion
from pytest_mad.gate import Gate
from pytest_mad.gate.judge import SlowerMode
from pytest_mad.tasks import Task, TaskParams, get_task

from .recipe import Recipe

#: Oracle and trivial level closer than this leave no room for a score.
_SMALLEST_RANGE = 0.01


class PresetError(ValueError):
    """A preset, task or setting that does not exist or is malformed; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task with concrete parameters: one cell of the difficulty grid."""

    task_name: str
    #: ``baseline``, or the one parameter that differs from it: ``vocab_size=32``
    name: str
    params: TaskParams
    recipe: Recipe
    #: normalised score to reach, or none
    threshold: float | None = None
    preset: str = ""
    #: how many settings the whole preset has of each task; empty where there is no preset
    preset_tasks: tuple[tuple[str, int], ...] = ()
    #: width of models that the plugin builds itself (``--mad-layers``, ``--mad-mixer``)
    width: int = 128
    #: standard deviation of the token embeddings of such models, before training
    embedding_std: float = 0.02
    #: rough seconds, or whatever else is proportional to the time of a trial: the order of items and the time that is
    #: shown as left depend on it, nothing else
    cost: float = 1.0
    #: how it is compared with a baseline
    gate: Gate = field(default_factory=Gate)
    #: what the verdict ``slower`` counts as here, and why; None for what the options say
    slower: tuple[SlowerMode, str] | None = None

    @property
    def id(self) -> str:
        """E.g. ``in-context-recall[vocab_size=32]``; it stands in node ids, files and reports."""
        return f"{self.task_name}[{self.name}]"

    @property
    def task(self) -> Task[Any]:
        """The task itself."""
        return get_task(self.task_name)

    @cached_property
    def oracle(self) -> float:
        return self._level(self.task.oracle)

    @cached_property
    def trivial(self) -> float:
        return self._level(self.task.trivial)

    def _level(self, level: Callable[[Any], float]) -> float:
        """Some levels are measured on generated data."""
        try:
            return level(self.params)
        except MemoryError:
            raise PresetError(f"{self.id}: its levels take more memory to compute than this machine has") from None

    def identity(self) -> dict[str, Any]:
        """What recorded scores are only compared under: preset, parameters, task version and recipe."""
        return {
            "preset": self.preset,
            "params": self.params.to_json(),
            "task_version": self.task.version,
            "recipe": self.recipe.digest(),
        }

    def normalized(self, accuracy: float) -> float:
        """``(accuracy - trivial) / (oracle - trivial)``: 0 for the strongest guess, 1 for the best possible."""
        if self.oracle - self.trivial < _SMALLEST_RANGE:
            raise PresetError(
                f"{self.id}: guessing reaches {self.trivial:.3f} of {self.oracle:.3f}, so nothing can show"
            )
        return (accuracy - self.trivial) / (self.oracle - self.trivial)


def select(chosen: dict[str, Setting], tasks: Sequence[str]) -> dict[str, Setting]:
    """The settings of the given tasks only; :class:`PresetError` for a task that is unknown or not in the preset."""
    for name in tasks:
        get_task(name)
        if all(s.task_name != name for s in chosen.values()):
            present = ", ".join(dict.fromkeys(s.task_name for s in chosen.values()))
            raise PresetError(f"task {name!r} is not in this preset, which has: {present}")
    return {i: s for i, s in chosen.items() if s.task_name in tasks}


def with_threshold(chosen: dict[str, Setting], where: str | None, threshold: float) -> dict[str, Setting]:
    """Settings with another threshold: all of them, or those of a task, or the one with the given id."""
    number = checked_threshold(threshold)
    return chosen | {i: replace(s, threshold=number) for i, s in _meant(chosen, where).items()}


def with_rates(chosen: dict[str, Setting], where: str | None, rates: Sequence[float]) -> dict[str, Setting]:
    """Settings whose sweep tries these learning rates alone, each with the weight decay of the recipe's first point."""
    return chosen | {i: replace(s, recipe=s.recipe.at_rates(rates)) for i, s in _meant(chosen, where).items()}


def _meant(chosen: dict[str, Setting], where: str | None) -> dict[str, Setting]:
    """All settings, or those of a task, or the one with the given id."""
    hits = {i: s for i, s in chosen.items() if where is None or where in (s.task_name, i)}
    if not hits:
        names = [*dict.fromkeys(s.task_name for s in chosen.values()), *chosen]
        raise PresetError(f"no task or setting {where!r} here; {suggestion(str(where), names)}")
    return hits


def as_published(setting: Setting) -> Setting:
    """The setting with the levels of MAD-Lab's published data, which has MAD-Lab's bugs."""
    return replace(setting, params=replace(setting.params, mode="compat"))


def checked_embedding_std(value: Any) -> float:
    """Of the token embeddings before training. Raises ValueError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and 0 < value <= 10, "embedding_std", value, "a number above 0 and at most 10")
    return float(value)


def with_slower(chosen: dict[str, Setting], text: str) -> dict[str, Setting]:
    """Settings where ``slower`` counts as the text says; :class:`PresetError` for another text."""
    try:
        mode = checked_slower(text)
    except ValueError as error:
        raise PresetError(str(error)) from None
    return {name: replace(setting, slower=mode) for name, setting in chosen.items()}


def checked_slower(value: Any) -> tuple[SlowerMode, str] | None:
    """From ``warn:REASON`` or ``pass:REASON`` to both; what a run fails by takes no reason. Raises ValueError."""
    if value is None or value == "fail":
        return None if value is None else ("fail", "")
    mode, _, reason = value.partition(":") if isinstance(value, str) else ("", "", "")
    is_right = mode in ("warn", "pass") and bool(reason.strip())
    require(is_right, "slower", value, "fail, warn:REASON or pass:REASON")
    return ("warn" if mode == "warn" else "pass"), reason.strip()


def checked_threshold(value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and 0 <= value <= 1, "threshold", value, "a number from 0 to 1")
    return float(value)
