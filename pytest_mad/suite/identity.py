"""Which model a test has measured, told in every process alike: what reports call by one name must be one model.

Two models are different if their code stands in different places or was given different plain values. What is made anew
for each test, is counted up as it is used, or differs between processes does not count: one model that is seen twice is
never two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import pytest

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.packages import HERE

#: Of values within values.
_DEEPEST = 6
#: Whose objects hold the test that runs, and more.
_PYTESTS = ("_pytest", "pytest", "unittest")


class Identity(NamedTuple):
    """A model as far as reports must tell it from another of the same name."""

    digest: str
    #: where it is written, for a message
    place: str

    def text(self) -> str:
        """As it travels with a report."""
        return json.dumps(self)


def identity(config: pytest.Config, architecture: Architecture, factory: Any = None) -> Identity:
    """Of an architecture, and where it is known, of the factory that it was made from."""
    try:
        found = _values(config).of(architecture.build)
    except Exception:  # an object of the user's that does not bear to be looked at
        found = architecture.source
    file, line = architecture.file, architecture.line or _line(factory)
    parts = (_relative(config, file) if file else "", f"line {line}" if line else "")
    where = ", ".join(filter(None, parts))
    place = f"{architecture.source} ({where})" if where else architecture.source
    return Identity(hashlib.sha256(repr(found).encode()).hexdigest()[:16], place)


def _line(factory: Any) -> int | None:
    """Of a class, which does not know it before Python 3.13."""
    factory = factory.func if isinstance(factory, functools.partial) else factory
    try:
        return inspect.getsourcelines(factory)[1]
    except (OSError, TypeError):
        return None


def _relative(config: pytest.Config, file: str) -> str:
    """The same on every machine: below the rootdir, else the name alone."""
    path = Path(file)
    return path.relative_to(config.rootpath).as_posix() if config.rootpath in path.parents else path.name


_VALUES = pytest.StashKey["_Values"]()


def _values(config: pytest.Config) -> _Values:
    return config.stash.setdefault(_VALUES, _Values(functools.partial(_relative, config)))


class _Values:
    """Plain values of what a factory is made of. An object keeps the value that it had when it was first seen."""

    def __init__(self, relative: Callable[[str], str]) -> None:
        self._relative = relative
        #: by id; the objects are kept, so that their ids stay their own
        self._seen: dict[int, tuple[object, Any]] = {}

    def of(self, value: object, depth: int = 0, *, is_captured: bool = False) -> Any:
        """``is_captured`` is what a function found around it, perhaps a fixture's own: its attributes do not count."""
        if depth > _DEEPEST:
            return "..."
        plain = _plain(value)
        if plain is not None:
            return plain
        if isinstance(value, list | tuple):
            return [self.of(one, depth + 1, is_captured=is_captured) for one in value]
        if isinstance(value, set | frozenset):
            return sorted(repr(self.of(one, depth + 1, is_captured=is_captured)) for one in value)
        if isinstance(value, Mapping):
            pairs = ((self.of(k, depth + 1), self.of(v, depth + 1, is_captured=is_captured)) for k, v in value.items())
            return sorted(map(repr, pairs))
        if id(value) not in self._seen:
            self._seen[id(value)] = value, None  # it may hold itself
            self._seen[id(value)] = value, self._of_object(value, depth, is_captured=is_captured)
        return self._seen[id(value)][1]

    def _of_object(self, value: Any, depth: int, *, is_captured: bool) -> Any:
        if isinstance(value, functools.partial):
            return "partial", *(self.of(one, depth + 1) for one in (value.func, value.args, value.keywords))
        if isinstance(value, MethodType):
            return "method", self.of(value.__func__, depth + 1), self.of(value.__self__, depth + 1)
        if isinstance(value, FunctionType):
            return self._of_function(value, depth)
        if isinstance(value, type):
            return self._of_class(value, depth)
        kind = self.of(type(value), depth + 1)
        if type(value).__module__.partition(".")[0] in _PYTESTS:
            return kind
        if isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype"):  # a tensor, an array
            return kind, tuple(value.shape), str(value.dtype)
        is_data = dataclasses.is_dataclass(value)
        if is_captured and not is_data:
            return kind
        attributes = {k: v for k, v in getattr(value, "__dict__", {}).items() if is_data or not k.startswith("_")}
        return kind, [(k, v) for k, v in sorted((k, _plain(v)) for k, v in attributes.items()) if v is not None]

    def _of_function(self, function: FunctionType, depth: int) -> Any:
        """Its place and code, and the values around it that make two functions of one place."""
        code = function.__code__
        is_ours = Path(code.co_filename).is_relative_to(HERE)  # around the user's own factory
        captured = [(name, self.of(one, depth + 1, is_captured=not is_ours)) for name, one in _captured(function)]
        defaults = self.of(function.__defaults__, depth + 1), self.of(function.__kwdefaults__, depth + 1)
        place = self._relative(code.co_filename), function.__qualname__, code.co_firstlineno
        return "function", place, _code(code), captured, defaults

    def _of_class(self, cls: type, depth: int) -> Any:
        """Its place; of one that is made in a function also its plain values, and what its functions found there."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        own = vars(cls)
        functions = [one for one in own.values() if isinstance(one, FunctionType)]
        lines = [one.__code__.co_firstlineno for one in functions]
        place = file and self._relative(file), cls.__qualname__, own.get("__firstlineno__", min(lines, default=0))
        if "<locals>" not in cls.__qualname__ and _at(cls.__module__, cls.__qualname__) is cls:
            return "class", place
        plain = sorted((k, _plain(v)) for k, v in own.items() if not k.startswith("__") and _plain(v) is not None)
        return "class", place, plain, [self.of(one, depth + 1) for one in functions]


def _captured(function: FunctionType) -> Iterator[tuple[str, object]]:
    """The variables around a function, but for those that are still empty."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            yield name, cell.cell_contents


def _plain(value: object) -> str | None:
    """The text of a plain value; None for any other. A path may be the test's own."""
    if isinstance(value, str):
        return "path" if os.path.isabs(value) else repr(value)
    if isinstance(value, PurePath):
        return "path"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    is_plain = value is None or isinstance(value, bool | int | float | complex | bytes)
    is_torchs = type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device")
    return repr(value) if is_plain or is_torchs else None


def _code(code: CodeType) -> str:
    """Tells functions of one line apart, such as two lambdas."""
    inner = [_code(one) if isinstance(one, CodeType) else _plain(one) for one in code.co_consts]
    return hashlib.sha256(repr((code.co_code.hex(), code.co_names, inner)).encode()).hexdigest()[:16]


def _at(module: str, qualname: str) -> object:
    """What stands under this name."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
