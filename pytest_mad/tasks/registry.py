"""Tasks by name: the six of MAD, those registered with ``@register_task``, and the entry points of other packages."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pytest_mad.common.errors import first_line, suggestion

from .base import Task

_TASKS: dict[str, Task[Any]] = {}
#: In MAD's order, which is also the order of reports.
_OWN_MODULES = ("recall", "fuzzy", "memorization", "compression", "copying")

T = TypeVar("T", bound=type[Task[Any]])


class UnknownTaskError(ValueError):
    """No task of that name; the message suggests the nearest one."""


def register_task(cls: T) -> T:
    """Class decorator: make a :class:`Task` known under its ``name``.

    Raises ``ValueError`` when another task has that name.
    """
    if not cls.__module__.startswith(f"{__package__}."):
        _load_own()  # MAD's come first
    known = _TASKS.get(cls.name)
    if known is not None and type(known) is not cls:
        raise ValueError(f"task {cls.name!r} is registered already, by {type(known).__module__}")
    _TASKS[cls.name] = cls()
    return cls


def _load_own() -> None:
    for module in _OWN_MODULES:
        import_module(f"{__package__}.{module}")


@cache
def _load_all() -> None:
    _load_own()
    for entry_point in entry_points(group="pytest_mad.tasks"):
        _load_entry_point(entry_point)


def _load_entry_point(entry_point: EntryPoint) -> None:
    """Another package's tasks; what is wrong with them must not end every run."""
    try:
        entry_point.load()
    except Exception as error:
        message = f"tasks of entry point {entry_point.name!r} left out: {type(error).__name__}: {first_line(error)}"
        warnings.warn(message, stacklevel=2)


def task_names() -> list[str]:
    """Names of all tasks: MAD's own first, in MAD's order."""
    _load_all()
    return list(_TASKS)


def get_task(name: str) -> Task[Any]:
    """The task of that name; :class:`UnknownTaskError` suggests the nearest name otherwise."""
    names = task_names()
    if name not in names:
        raise UnknownTaskError(f"unknown task {name!r}; {suggestion(name, names)}")
    return _TASKS[name]
