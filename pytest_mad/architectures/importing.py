"""Importing what a TARGET names: a module by its dotted name, or a file, which may be part of a package."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from pytest_mad.common.errors import LeftError, SkippedError, first_line, kept_inside, type_name
from pytest_mad.common.files import is_file

from .architecture import TargetError
from .namespace import TAKEN, Namespace, namespace_of


def import_module(name: str) -> ModuleType:
    """The module of this dotted name. Raises :class:`TargetError`, or `SkippedError` where it asks to be skipped."""
    importlib.invalidate_caches()
    if not all(part.isidentifier() or re.fullmatch(r"[\w-]+", part) for part in name.split(".")):
        raise TargetError(f"{name!r} is no name of a module, and no path of a .py file")
    with _one_line(repr(name), name):
        _check_single(name)
        module = importlib.import_module(name)
    return module


def import_file(path: str) -> tuple[ModuleType, Namespace]:
    """The module that a file is, among its own siblings. Raises as :func:`import_module` does.

    A file with an ``__init__.py`` beside it is part of a package: it is imported by its dotted name, so that its
    relative imports work.
    """
    file = Path(path).expanduser()
    if not is_file(file):
        raise TargetError(f"there is no file {path}")
    file = file.resolve()
    folder, parts = package_place(file)
    name, is_package = ".".join(parts), len(parts) > 1 or file.name == "__init__.py"
    if is_package and parts[0] in TAKEN:
        raise TargetError(f"{path} is part of a package {parts[0]!r}, a name that is taken: rename it")
    namespace = namespace_of(folder)
    importlib.invalidate_caches()
    with namespace.entered(), _one_line(path, name):
        return (importlib.import_module(name) if is_package else _execute(file)), namespace


def package_place(file: Path) -> tuple[Path, tuple[str, ...]]:
    """Where a file is imported from, and the parts of its name: above the outermost ``__init__.py``, or its folder."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while folder.joinpath("__init__.py").is_file() and "." not in folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    return (folder, tuple(parts)) if parts else (file.parent, (file.parent.name,))


def _execute(file: Path) -> ModuleType:
    """The module of a file that no package has, under its own name where that is free, so that siblings find it."""
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    is_free = file.stem.isidentifier() and file.stem not in TAKEN and known is None
    name = file.stem if is_free else f"_mad_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules.get(name, module)


def _check_single(name: str) -> None:
    """Raise :class:`TargetError` where another file was imported under this name before: it would be measured."""
    top = name.partition(".")[0]
    known, spec = sys.modules.get(top), PathFinder.find_spec(top)
    here, there = getattr(known, "__file__", None), spec and spec.has_location and spec.origin
    if here and there and Path(here).resolve() != Path(there).resolve():
        raise TargetError(
            f"the name {top!r} has two places: {there} would be imported, but {here} was imported before; rename one, "
            "or give the path of the file"
        )


@contextlib.contextmanager
def _one_line(what: str, name: str) -> Iterator[None]:
    """Turn what an import raises into one line."""
    try:
        with kept_inside():
            yield
    except (TargetError, SkippedError):
        raise
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if what == repr(name) and (name == missing or name.startswith(f"{missing}.")):
            raise TargetError(f"there is no module {name!r} on sys.path or in the current directory") from None
        raise TargetError(f"module {what} needs {missing!r}, which is not installed") from error
    except LeftError as error:
        raise TargetError(f"importing {what} {first_line(error)}") from error.__cause__
    except Exception as error:
        raise TargetError(f"importing {what} raised {type_name(error)}: {first_line(error)}") from error
