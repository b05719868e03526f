"""Things by name: our own, those that users register, and those of other packages' entry points."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .errors import first_line, suggestion

T = TypeVar("T")


class UnknownNameError(ValueError):
    """Nothing has that name; the message suggests the nearest one."""


class Registry(Generic[T]):
    """One table of names. Our own come first, whoever registers first: they are loaded when anything is asked for.

    ``kind`` is what it holds, for messages; ``home`` is the package of our own, which ``load_own`` imports; ``group``
    names the entry points that join. Each registers what it brings when it is loaded, or is handed to ``join``.
    """

    def __init__(
        self,
        kind: str,
        home: str,
        load_own: Callable[[], object],
        *,
        group: str | None = None,
        join: Callable[[str, Any], object] | None = None,
        unknown: type[UnknownNameError] = UnknownNameError,
    ) -> None:
        self._kind, self._home, self._load_own = kind, home, load_own
        self._group, self._join, self._unknown = group, join, unknown
        self._entries: dict[str, tuple[T, object]] = {}
        self._has_loaded = False

    def add(self, name: str, entry: T, made_of: Any) -> None:
        """Register under a name what is made of this class or function.

        Raises ``ValueError`` when another has the name; the same again, also from a file that was loaded anew, takes
        its place.
        """
        if not made_of.__module__.startswith(f"{self._home}."):
            self._load_own()
        known = self._entries.get(name)
        if known is not None and _identity(known[1]) != _identity(made_of):
            by = getattr(known[1], "__module__", "another module")
            raise ValueError(f"{self._kind} {name!r} is already registered by {by}")
        self._entries[name] = entry, made_of

    def has(self, name: str) -> bool:
        """Whether this is registered by now; nothing is loaded to find out."""
        return name in self._entries

    def names(self) -> list[str]:
        """All names, in the order of registration."""
        self._load()
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        """What has this name; :class:`UnknownNameError` suggests the nearest otherwise."""
        if name not in self:
            raise self._unknown(f"unknown {self._kind} {name!r}; {suggestion(name, self._entries)}")
        return self._entries[name][0]

    def _load(self) -> None:
        if self._has_loaded:
            return
        self._load_own()
        self._has_loaded = True  # an entry point may ask for names, and a module of ours that fails is tried again
        for entry_point in entry_points(group=self._group) if self._group else ():
            self._load_entry_point(entry_point)

    def _load_entry_point(self, entry_point: EntryPoint) -> None:
        """What is wrong with somebody else's package must not end every run."""
        try:
            loaded = entry_point.load()
            if self._join:
                self._join(entry_point.name, loaded)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            warnings.warn(f"{self._kind}s of entry point {entry_point.name!r} left out: {reason}", stacklevel=4)


def _identity(made_of: Any) -> tuple[str, str]:
    """Equal for a class or function, and for the same one after its file was loaded again under whatever name."""
    try:
        place = inspect.getfile(made_of)
    except (TypeError, OSError):  # written at a prompt
        place = made_of.__module__
    return place, made_of.__qualname__
