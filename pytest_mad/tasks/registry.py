"""Tasks by name: the six of MAD, those registered with ``@register_task``, and the entry points of other packages."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

from pytest_mad.common.registry import Registry, UnknownNameError
from pytest_mad.common.text import NAME

from .base import Task

#: In MAD's order, which is also the order of reports.
_OWN_MODULES = ("recall", "fuzzy", "memorization", "compression", "copying")

T = TypeVar("T", bound=type[Task[Any]])


class UnknownTaskError(UnknownNameError):
    """No task of that name; the message suggests the nearest one."""


def _load_own() -> None:
    for module in _OWN_MODULES:
        import_module(f"{__package__}.{module}")


_TASKS: Registry[Task[Any]] = Registry(
    "task", str(__package__), _load_own, group="pytest_mad.tasks", unknown=UnknownTaskError
)


def register_task(cls: T) -> T:
    """Class decorator: make a :class:`Task` known under its ``name``.

    Raises ``ValueError`` when another task has that name, or it cannot stand in a node id.
    """
    if not NAME.fullmatch(cls.name):
        raise ValueError(f"task {cls.name!r}: a name has letters, digits and _.- only")
    _TASKS.add(cls.name, cls(), cls)
    return cls


def task_names() -> list[str]:
    """Names of all tasks: MAD's own first, in MAD's order."""
    return _TASKS.names()


def get_task(name: str) -> Task[Any]:
    """The task of that name; :class:`UnknownTaskError` suggests the nearest name otherwise."""
    return _TASKS[name]
