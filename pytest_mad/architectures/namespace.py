"""Modules of users' files, each folder's apart from every other's, as of two checkouts of one project."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from .source import is_users_file

#: Names that no file of a user's takes the place of, whatever it is called.
TAKEN = sys.stdlib_module_names | {"torch", "numpy", "pytest", "_pytest", "hypothesis", "pytest_mad"}

_NAMESPACES: dict[Path, Namespace] = {}


class Namespace:
    """What files of one folder import: for as long as their code runs, ``sys.modules`` and ``sys.path`` are theirs.

    A module from below the folder belongs to them alone. One that the process has already, from the same file, is
    shared; one of the same name from elsewhere is out of sight while they run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType] = {}
        #: what they put on ``sys.path`` themselves
        self._path: list[str] = []
        self._is_entered = False

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run what is inside among these modules; a second time inside itself it does nothing."""
        if self._is_entered:
            yield
            return
        path, hidden = list(sys.path), self._hidden()
        self._is_entered = True
        for name in hidden:
            del sys.modules[name]
        there = set(sys.modules)
        sys.modules.update(self._modules)
        sys.path[:0] = [str(self._folder), *self._path]
        try:
            yield
        finally:
            self._path = [one for one in dict.fromkeys(sys.path) if one not in (*path, str(self._folder))]
            sys.path[:] = path
            new = {name: module for name, module in sys.modules.items() if name not in there}
            self._modules |= {name: module for name, module in new.items() if self._owns(module)}
            for name in self._modules:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)
            self._is_entered = False

    def _hidden(self) -> dict[str, ModuleType]:
        """Modules that came from elsewhere, though the folder has one of their name; and what was imported twice."""
        offered = self._offered()
        tops = {top for top in offered if not self._has(top)}
        known = list(sys.modules.items())
        return {name: m for name, m in known if name in self._modules or name.partition(".")[0] in tops}

    def _offered(self) -> set[str]:
        """What an import would find in the folder; one without ``__init__.py`` gives way to any module."""
        found = set()
        for entry in _entries(self._folder):
            name = entry.name.partition(".")[0]
            is_module = entry.name.endswith((".py", ".so", ".pyd")) or Path(entry, "__init__.py").is_file()
            if is_module or (entry.is_dir() and getattr(sys.modules.get(name), "__file__", None) is None):
                found.add(name)
        return found - TAKEN

    def _owns(self, module: ModuleType) -> bool:
        """Whether it lies below the folder, or where its files put ``sys.path`` to; what all can import is shared."""
        places, roots = _places(module), [self._folder, *map(Path, self._path)]
        is_below = all(any(place.is_relative_to(root.resolve()) for root in roots) for place in places)
        return bool(places) and is_below and all(map(is_users_file, places))

    def _has(self, top: str) -> bool:
        """Whether what the process knows by this name is the folder's own, or of no place that is known."""
        places = _places(sys.modules.get(top))
        own = self._folder / top
        return not places or any(own in (place, place.parent) or place.parent == self._folder for place in places)


def namespace_of(folder: Path) -> Namespace:
    """The one of a folder, for all TARGETs in it."""
    return _NAMESPACES.setdefault(folder, Namespace(folder))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # it is gone, or may not be listed
        return []


def _places(module: ModuleType | None) -> list[Path]:
    """The file of a module, or the folders of a package without one; none for what is built in."""
    try:
        file = getattr(module, "__file__", None)
        found: Iterable[object] = [file] if file else getattr(module, "__path__", ())
        return [Path(str(place)).resolve() for place in found]
    except Exception:  # what a module says of itself may be anything
        return []
